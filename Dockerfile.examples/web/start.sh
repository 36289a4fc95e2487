#!/bin/bash
# The server goes on behind the shell.
python3 -m http.server --directory /srv/www 8000 > ~/server.log 2>&1 &
disown
echo "Debian $(cat /etc/debian_version) on $(uname -m), $(python3 -V). The page beside is /srv/www/index.html, served by Python in this tab."
exec bash -i
