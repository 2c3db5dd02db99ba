# SPDX-License-Identifier: GPL-2.0-or-later
# fpm.sh PHP_FPM WORK: PHP's process manager behind nginx, which speaks to it over a unix socket.
"$1" -F -y "$2/fpm.conf" &
php=$!
until [ -S "$2/php.sock" ]; do sleep 0.02; done
nginx -c "$2/nginx.conf" -e "$2/error.log" &
nginx=$!
trap 'kill $nginx $php; wait; exit 0' TERM
wait
