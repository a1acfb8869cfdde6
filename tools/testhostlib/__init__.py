"""Labs of throwaway systemd hosts: see docs/test-hosts.md. Standard library only."""
