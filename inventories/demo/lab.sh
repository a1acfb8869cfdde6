#!/bin/sh
# Inventory script: the address and the key of the demo's host, while it runs.
exec "$(dirname "$0")/../../tools/testhost" inventory --scenario demo --script
