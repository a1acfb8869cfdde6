/* Stand-in for NVIDIA's libnvidia-ml.so.1, for tests on machines without a GPU: it answers from a file what a driver
 * would answer. It proves how our code reads the library; it proves nothing about real hardware.
 *
 * The file is $STUB_NVML_CONF or /etc/stub-nvml.conf; see README.md for its format.
 *
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS, UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, NOT_FOUND = 6, FUNCTION_NOT_FOUND = 13, UNKNOWN = 999 };
enum { MAX_GPUS = 16, MAX_MIGS = 8, TEXT = 256, MAX_LINKS = 18 };
enum { NVLINK_TO_GPU = 0, NVLINK_TO_SWITCH = 2 };
enum { ANCESTOR_NODE = 40, ANCESTOR_SYSTEM = 50 };

typedef struct device {
    int exists, index, is_mig;
    struct device *parent;
    char name[TEXT], uuid[TEXT], pci[TEXT], nvlink[TEXT];
    unsigned long long memory_total_mib, memory_free_mib;
    int capability_major, capability_minor, numa, switch_links, fabric_state;
    int mig;                         /* -1: the card has no MIG */
    int handle_error, memory_error;  /* NVML return codes that the calls answer with */
    int has_health;                  /* any of the following was given */
    unsigned utilization, temperature, power_milliwatts, power_limit_milliwatts;
    unsigned rows_corrected, rows_uncorrected, rows_pending, rows_failed;
    unsigned long long ecc_corrected, ecc_uncorrected, clock_reasons;
    struct device *migs;
} device;

typedef struct { char bus_id_legacy[16]; unsigned domain, bus, device, id, subsystem_id; char bus_id[32]; } pci_info;
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2;
typedef struct { unsigned char uuid[16]; int status; unsigned clique; unsigned char state; } fabric_info;
typedef struct {
    unsigned version; unsigned char uuid[16]; int status; unsigned clique; unsigned char state; unsigned health;
} fabric_info_v2;

static struct {
    char driver_version[TEXT], nvml_version[TEXT], absent[1024];
    int cuda_version, init_error, hang_seconds, crash;
} host;
static device gpus[MAX_GPUS];
static device mig_pool[MAX_GPUS][MAX_MIGS];

static void copy(char *to, const char *text, int number) {
    /* %d in a value is the device's number, so that one section can describe eight cards */
    const char *mark = strstr(text, "%d");
    if (mark)
        snprintf(to, TEXT, "%.*s%d%s", (int)(mark - text), text, number, mark + 2);
    else
        snprintf(to, TEXT, "%s", text);
}

static int set_health(device *d, const char *key, const char *value) {
    unsigned long long number = strtoull(value, NULL, 0);
    if (!strcmp(key, "utilization")) d->utilization = (unsigned)number;
    else if (!strcmp(key, "temperature")) d->temperature = (unsigned)number;
    else if (!strcmp(key, "power_milliwatts")) d->power_milliwatts = (unsigned)number;
    else if (!strcmp(key, "power_limit_milliwatts")) d->power_limit_milliwatts = (unsigned)number;
    else if (!strcmp(key, "ecc_corrected")) d->ecc_corrected = number;
    else if (!strcmp(key, "ecc_uncorrected")) d->ecc_uncorrected = number;
    else if (!strcmp(key, "clock_reasons")) d->clock_reasons = number;
    else if (!strcmp(key, "remapped_rows"))
        sscanf(value, "%u %u %u %u", &d->rows_corrected, &d->rows_uncorrected, &d->rows_pending, &d->rows_failed);
    else return 0;
    return d->has_health = 1;
}

static void set_device(device *d, int number, const char *key, const char *value) {
    if (set_health(d, key, value)) return;
    if (!strcmp(key, "name")) copy(d->name, value, number);
    else if (!strcmp(key, "uuid")) copy(d->uuid, value, number);
    else if (!strcmp(key, "pci")) copy(d->pci, value, number);
    else if (!strcmp(key, "nvlink")) copy(d->nvlink, value, number);
    else if (!strcmp(key, "memory_total_mib")) d->memory_total_mib = strtoull(value, NULL, 10);
    else if (!strcmp(key, "memory_free_mib")) d->memory_free_mib = strtoull(value, NULL, 10);
    else if (!strcmp(key, "compute_capability")) sscanf(value, "%d.%d", &d->capability_major, &d->capability_minor);
    else if (!strcmp(key, "numa")) d->numa = atoi(value);
    else if (!strcmp(key, "switch_links")) d->switch_links = atoi(value);
    else if (!strcmp(key, "fabric_state")) d->fabric_state = atoi(value);
    else if (!strcmp(key, "mig")) d->mig = atoi(value);
    else if (!strcmp(key, "handle_error")) d->handle_error = atoi(value);
    else if (!strcmp(key, "memory_error")) d->memory_error = atoi(value);
    else { fprintf(stderr, "stub NVML: unknown device key %s\n", key); abort(); }
}

static void set_host(const char *key, const char *value) {
    if (!strcmp(key, "driver_version")) copy(host.driver_version, value, 0);
    else if (!strcmp(key, "nvml_version")) copy(host.nvml_version, value, 0);
    else if (!strcmp(key, "cuda_version")) host.cuda_version = atoi(value);
    else if (!strcmp(key, "init_error")) host.init_error = atoi(value);
    else if (!strcmp(key, "hang_seconds")) host.hang_seconds = atoi(value);
    else if (!strcmp(key, "crash")) host.crash = atoi(value);
    else if (!strcmp(key, "absent")) snprintf(host.absent, sizeof host.absent, " %s ", value);
    else { fprintf(stderr, "stub NVML: unknown key %s\n", key); abort(); }
}

static void begin(device *d, int number) {
    if (d->exists) return;
    d->exists = 1;
    d->index = number;
    d->mig = d->numa = -1;
}

static char *trim(char *text) {
    while (isspace((unsigned char)*text)) text++;
    char *end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1])) *--end = 0;
    return text;
}

static int load(void) {
    const char *path = getenv("STUB_NVML_CONF");
    FILE *file = fopen(path ? path : "/etc/stub-nvml.conf", "r");
    char line[2048];
    int first = -1, last = -1, mig = -1;
    if (!file) return 0;
    memset(&host, 0, sizeof host);
    memset(gpus, 0, sizeof gpus);
    memset(mig_pool, 0, sizeof mig_pool);
    while (fgets(line, sizeof line, file)) {
        char *text = trim(line), *equals;
        if (!*text || *text == '#') continue;
        if (*text == '[') {
            mig = -1;
            if (sscanf(text, "[gpu %d-%d]", &first, &last) == 2) continue;
            if (sscanf(text, "[mig %d/%d]", &first, &mig) != 2 && sscanf(text, "[gpu %d]", &first) != 1) abort();
            last = first;
            continue;
        }
        if (!(equals = strchr(text, '='))) abort();
        *equals = 0;
        char *key = trim(text), *value = trim(equals + 1);
        if (first < 0) { set_host(key, value); continue; }
        if (last >= MAX_GPUS || mig >= MAX_MIGS) abort();
        for (int number = first; number <= last; number++) {
            device *gpu = &gpus[number];
            begin(gpu, number);
            gpu->migs = mig_pool[number];
            if (mig < 0) { set_device(gpu, number, key, value); continue; }
            device *instance = &gpu->migs[mig];
            begin(instance, mig);
            instance->is_mig = 1;
            instance->parent = gpu;
            set_device(instance, mig, key, value);
        }
    }
    fclose(file);
    return 1;
}

static int is_absent(const char *function) {
    char wanted[TEXT];
    snprintf(wanted, sizeof wanted, " %s ", function);
    return strstr(host.absent, wanted) != NULL;
}

#define OFFERED if (is_absent(__func__)) return FUNCTION_NOT_FOUND

static int text_out(const char *text, char *to, unsigned length) {
    if (!*text) return NOT_SUPPORTED;
    snprintf(to, length, "%s", text);
    return SUCCESS;
}

int nvmlInit_v2(void) {
    if (!load()) return 9;  /* no file, no driver */
    OFFERED;
    if (host.crash) raise(SIGSEGV);
    if (host.hang_seconds) sleep((unsigned)host.hang_seconds);
    return host.init_error;
}

int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int code) {
    switch (code) {
    case 0: return "The operation was successful";
    case 3: return "Not Supported";
    case 4: return "Insufficient Permissions";
    case 8: return "Insufficient External Power";
    case 9: return "Driver Not Loaded";
    case 13: return "Function Not Found";
    case 15: return "GPU is lost";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *to, unsigned length) { OFFERED; return text_out(host.driver_version, to, length); }
int nvmlSystemGetNVMLVersion(char *to, unsigned length) { OFFERED; return text_out(host.nvml_version, to, length); }

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    OFFERED;
    if (!host.cuda_version) return NOT_FOUND;
    *version = host.cuda_version;
    return SUCCESS;
}
int nvmlSystemGetCudaDriverVersion(int *version) { return nvmlSystemGetCudaDriverVersion_v2(version); }

int nvmlDeviceGetCount_v2(unsigned *count) {
    OFFERED;
    *count = 0;
    while (*count < MAX_GPUS && gpus[*count].exists) ++*count;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device **handle) {
    OFFERED;
    if (index >= MAX_GPUS || !gpus[index].exists) return INVALID_ARGUMENT;
    *handle = &gpus[index];
    return gpus[index].handle_error;
}

int nvmlDeviceGetName(device *d, char *to, unsigned length) { OFFERED; return text_out(d->name, to, length); }
int nvmlDeviceGetUUID(device *d, char *to, unsigned length) { OFFERED; return text_out(d->uuid, to, length); }

int nvmlDeviceGetMemoryInfo(device *d, memory *m) {
    OFFERED;
    if (d->memory_error) return d->memory_error;
    m->total = d->memory_total_mib << 20;
    m->free = d->memory_free_mib << 20;
    m->used = m->total - m->free;
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(device *d, memory_v2 *m) {
    OFFERED;
    if (m->version != (sizeof *m | 2 << 24)) return INVALID_ARGUMENT;
    if (d->memory_error) return d->memory_error;
    m->total = d->memory_total_mib << 20;
    m->free = d->memory_free_mib << 20;
    m->reserved = 0;
    m->used = m->total - m->free;
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(device *d, int *major, int *minor) {
    OFFERED;
    if (!d->capability_major) return NOT_SUPPORTED;
    *major = d->capability_major;
    *minor = d->capability_minor;
    return SUCCESS;
}

static void pci_out(const char *address, pci_info *info) {
    unsigned function = 0;
    memset(info, 0, sizeof *info);
    sscanf(address, "%x:%x:%x.%x", &info->domain, &info->bus, &info->device, &function);
    snprintf(info->bus_id_legacy, sizeof info->bus_id_legacy, "%04X:%02X:%02X.0", info->domain & 0xffff,
             info->bus & 0xff, info->device & 0xff);
    snprintf(info->bus_id, sizeof info->bus_id, "%08X:%02X:%02X.0", info->domain, info->bus & 0xff,
             info->device & 0xff);
}

int nvmlDeviceGetPciInfo_v3(device *d, pci_info *info) {
    OFFERED;
    if (!*d->pci) return NOT_SUPPORTED;
    pci_out(d->pci, info);
    return SUCCESS;
}

int nvmlDeviceGetMemoryAffinity(device *d, unsigned words, unsigned long *nodes, unsigned scope) {
    (void)scope;
    OFFERED;
    if (d->numa < 0) return NOT_SUPPORTED;
    memset(nodes, 0, words * sizeof *nodes);
    nodes[0] = 1UL << d->numa;
    return SUCCESS;
}

int nvmlDeviceGetMigMode(device *d, unsigned *current, unsigned *pending) {
    OFFERED;
    if (d->mig < 0) return NOT_SUPPORTED;
    *current = *pending = (unsigned)d->mig;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(device *d, unsigned *count) {
    (void)d;
    OFFERED;
    *count = MAX_MIGS;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(device *d, unsigned index, device **handle) {
    OFFERED;
    if (index >= MAX_MIGS || !d->migs[index].exists) return NOT_FOUND;
    *handle = &d->migs[index];
    return SUCCESS;
}

int nvmlDeviceGetTopologyCommonAncestor(device *one, device *other, int *level) {
    OFFERED;
    *level = one->numa == other->numa ? ANCESTOR_NODE : ANCESTOR_SYSTEM;
    return SUCCESS;
}

/* Links 0 … go to switches, the next ones to the cards of «nvlink = 1:4 2:4». Returns the peer's index, or -1. */
static int link_peer(const device *d, unsigned link, int *to_switch) {
    unsigned next = (unsigned)d->switch_links;
    *to_switch = link < next;
    for (const char *part = d->nvlink; !*to_switch && part && *part; part = strchr(part + 1, ' ')) {
        unsigned peer, count;
        if (sscanf(part, " %u:%u", &peer, &count) != 2) break;
        if (link < next + count) return (int)peer;
        next += count;
    }
    return -1;
}

int nvmlDeviceGetNvLinkState(device *d, unsigned link, unsigned *active) {
    int to_switch;
    OFFERED;
    if (!d->switch_links && !*d->nvlink) return NOT_SUPPORTED;
    if (link >= MAX_LINKS) return INVALID_ARGUMENT;
    *active = link_peer(d, link, &to_switch) >= 0 || to_switch;
    return SUCCESS;
}

int nvmlDeviceGetNvLinkRemotePciInfo_v2(device *d, unsigned link, pci_info *info) {
    int to_switch, peer = link_peer(d, link, &to_switch);
    OFFERED;
    pci_out(peer >= 0 ? gpus[peer].pci : "0000:a0:00.0", info);
    return SUCCESS;
}

int nvmlDeviceGetNvLinkRemoteDeviceType(device *d, unsigned link, int *type) {
    int to_switch;
    OFFERED;
    link_peer(d, link, &to_switch);
    *type = to_switch ? NVLINK_TO_SWITCH : NVLINK_TO_GPU;
    return SUCCESS;
}

int nvmlDeviceGetGpuFabricInfo(device *d, fabric_info *info) {
    OFFERED;
    if (!d->fabric_state) return NOT_SUPPORTED;
    memset(info, 0, sizeof *info);
    info->state = (unsigned char)d->fabric_state;
    return SUCCESS;
}

int nvmlDeviceGetGpuFabricInfoV(device *d, fabric_info_v2 *info) {
    OFFERED;
    if (info->version != (sizeof *info | 2 << 24)) return INVALID_ARGUMENT;
    if (!d->fabric_state) return NOT_SUPPORTED;
    info->state = (unsigned char)d->fabric_state;
    return SUCCESS;
}

typedef struct { unsigned gpu, memory; } utilization;

#define HEALTH OFFERED; if (!d->has_health) return NOT_SUPPORTED

int nvmlDeviceGetUtilizationRates(device *d, utilization *u) {
    HEALTH;
    u->gpu = d->utilization;
    u->memory = 0;
    return SUCCESS;
}

int nvmlDeviceGetTemperature(device *d, int sensor, unsigned *celsius) {
    HEALTH;
    if (sensor) return INVALID_ARGUMENT;
    *celsius = d->temperature;
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(device *d, unsigned *milliwatts) { HEALTH; *milliwatts = d->power_milliwatts; return SUCCESS; }

int nvmlDeviceGetEnforcedPowerLimit(device *d, unsigned *milliwatts) {
    HEALTH;
    *milliwatts = d->power_limit_milliwatts;
    return SUCCESS;
}

int nvmlDeviceGetTotalEccErrors(device *d, int kind, int counter, unsigned long long *count) {
    HEALTH;
    if (kind < 0 || kind > 1 || counter < 0 || counter > 1) return INVALID_ARGUMENT;
    *count = kind ? d->ecc_uncorrected : d->ecc_corrected;
    return SUCCESS;
}

int nvmlDeviceGetRemappedRows(device *d, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
    HEALTH;
    *corrected = d->rows_corrected;
    *uncorrected = d->rows_uncorrected;
    *pending = d->rows_pending;
    *failed = d->rows_failed;
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksEventReasons(device *d, unsigned long long *reasons) {
    HEALTH;
    *reasons = d->clock_reasons;
    return SUCCESS;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(device *d, unsigned long long *reasons) {
    return nvmlDeviceGetCurrentClocksEventReasons(d, reasons);
}
