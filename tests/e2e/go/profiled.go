// A program that serves its profiles as its first argument says. "WAY THREADS", prints the port and then "ready".
package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/pprof"
	"os"
	"runtime"
	"strconv"
)

//go:noinline
func waitForOrder(orders chan int) int { return <-orders }

// The compiler inlines it.
func takeOrder(orders chan int) int { return waitForOrder(orders) + 1 }

func work(orders chan int) { takeOrder(orders) }

func pinned(orders chan int) {
	runtime.LockOSThread()
	waitForOrder(orders)
}

// How the profiles are served.
func handler(way string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", http.NotFound)
	switch way {
	case "usual", "everywhere":
		return http.DefaultServeMux
	case "elsewhere":
		mux.Handle("/admin/", http.StripPrefix("/admin", http.DefaultServeMux))
	case "unauthorized":
		mux.HandleFunc("/debug/pprof/", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
		})
	case "redirects":
		mux.Handle("/debug/pprof/", http.RedirectHandler("http://127.0.0.1:1/debug/pprof/", http.StatusFound))
	case "hangs":
		mux.HandleFunc("/debug/pprof/", func(w http.ResponseWriter, r *http.Request) { select {} })
	case "lies":
		mux.HandleFunc("/debug/pprof/", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery == "" {
				pprof.Index(w, r)
				return
			}
			fmt.Fprint(w, "goroutine 7 [\x1b[31mred, -5 minutes]:\nmain.\x1b]0;title\x07(0x1)\n\t/no:where:0x +0x\ngoroutine")
		})
	}
	return mux
}

func main() {
	way := os.Args[1]
	many, _ := strconv.Atoi(os.Args[2])
	orders := make(chan int)
	go pinned(orders)
	for i := 0; i < many; i++ {
		go work(orders)
	}
	// The app itself, which knows of no profiles.
	app, err := net.Listen("tcp", ":0")
	if err != nil {
		panic(err)
	}
	go http.Serve(app, handler("none"))
	server := httptest.NewUnstartedServer(handler(way))
	if way == "everywhere" {
		if server.Listener, err = net.Listen("tcp", ":0"); err != nil {
			panic(err)
		}
	}
	if way == "tls" {
		server.Config.Handler = http.DefaultServeMux
		server.StartTLS()
	} else {
		server.Start()
	}
	fmt.Println(server.Listener.Addr().(*net.TCPAddr).Port)
	fmt.Println("ready")
	select {}
}
