// SPDX-License-Identifier: GPL-2.0-or-later
// An HTTP server: the answer to /A/B is "A B N" for the Nth request of the connection. Beside it
// some goroutines pass a number round and make garbage.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

type key struct{}

func pass(in <-chan []int, out chan<- []int) {
	for numbers := range in {
		more := append([]int{len(numbers)}, numbers...)
		if len(more) > 1000 {
			more = more[:1]
		}
		time.Sleep(100 * time.Microsecond)
		out <- more
	}
}

func main() {
	channels := make([]chan []int, 16)
	for i := range channels {
		channels[i] = make(chan []int, 1)
	}
	for i := range channels {
		go pass(channels[i], channels[(i+1)%len(channels)])
	}
	channels[0] <- nil
	server := http.Server{
		Addr: "127.0.0.1:" + os.Args[1],
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, key{}, new(int))
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			count := r.Context().Value(key{}).(*int)
			*count++
			path := strings.Replace(r.URL.Path[1:], "/", " ", 1)
			fmt.Fprintf(w, "%s %d", path, *count)
		}),
	}
	fmt.Println(server.ListenAndServe())
}
