# SPDX-License-Identifier: GPL-2.0-or-later
# postgres.sh BIN WORK PORT: a database server and a client of it over a unix socket, which reads
# from the fifo WORK/ask and writes to WORK/answers.
cd "$2" || exit 1
"$1/postgres" -D data -k "$2" -p "$3" -c listen_addresses=127.0.0.1 -c shared_buffers=4MB >log 2>&1 &
server=$!
trap 'kill $client; kill -INT $server; wait; exit 0' TERM
until "$1/pg_isready" -q -h "$2" -p "$3"; do sleep 0.1; done
"$1/psql" -qAtX -h "$2" -p "$3" -U postgres <>ask >answers 2>&1 &
client=$!
wait $server
