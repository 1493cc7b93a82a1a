# A script that stays, and starts a server.
echo starting
python3 -m http.server --bind 127.0.0.1 "$1"
echo ended
