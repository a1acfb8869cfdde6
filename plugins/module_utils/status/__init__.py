"""One look at the serving units of a host: systemd, journal, sockets, memory and the engines' own words."""
