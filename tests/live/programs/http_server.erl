%% SPDX-License-Identifier: GPL-2.0-or-later
%% An HTTP server with a process for each connection: the answer to /A/B is "A B N" for the Nth
%% request of the connection. N is kept by a process of its own.
-module(http_server).
-export([start/1]).

start([Port]) ->
    Options = [binary, {packet, http_bin}, {active, false}, {reuseaddr, true}, {ip, {127, 0, 0, 1}}],
    {ok, Listener} = gen_tcp:listen(list_to_integer(Port), Options),
    accept(Listener).

accept(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    Pid = spawn(fun() -> receive go -> serve(Socket, spawn_link(fun() -> count(0) end)) end end),
    ok = gen_tcp:controlling_process(Socket, Pid),
    Pid ! go,
    accept(Listener).

count(N) ->
    receive {next, From} -> From ! {count, N + 1} end,
    count(N + 1).

serve(Socket, Counter) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, {http_request, 'GET', {abs_path, Path}, _}} ->
            headers(Socket),
            Counter ! {next, self()},
            N = receive {count, Number} -> Number end,
            [A, B] = binary:split(binary:part(Path, 1, byte_size(Path) - 1), <<"/">>),
            Body = io_lib:format("~s ~s ~b", [A, B, N]),
            Head = io_lib:format("HTTP/1.1 200 OK\r\nContent-Length: ~b\r\n\r\n", [iolist_size(Body)]),
            ok = gen_tcp:send(Socket, [Head, Body]),
            serve(Socket, Counter);
        _ ->
            exit(Counter, kill),
            gen_tcp:close(Socket)
    end.

headers(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, http_eoh} -> ok;
        {ok, _} -> headers(Socket)
    end.
