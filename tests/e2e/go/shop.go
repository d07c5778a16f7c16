package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"time"
)

var (
	mu    sync.Mutex
	spun  uint64
	quiet = make(chan int)
)

//go:noinline
func waitForOrder() int { return <-quiet }

// The compiler inlines these two: serve has takeOrder within it, and deep has both.
func takeOrder() int { return waitForOrder() + 1 }

func serve() int { return takeOrder() * 2 }

//go:noinline
func holdLock() { mu.Lock(); time.Sleep(time.Hour) }

//go:noinline
func wantLock() { mu.Lock(); spun++ }

//go:noinline
func accept(l net.Listener) { c, _ := l.Accept(); c.Close() }

//go:noinline
func spin() {
	for {
		spun++
	}
}

//go:noinline
func deep(n int) int {
	if n == 0 {
		return serve()
	}
	return deep(n-1) + 1
}

//go:noinline
func choose(a, b chan int) {
	select {
	case <-a:
	case <-b:
	}
}

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go holdLock()
	time.Sleep(50 * time.Millisecond)
	go wantLock()
	go accept(l)
	go deep(50)
	go choose(make(chan int), make(chan int))
	r, _, _ := os.Pipe()
	_ = r
	go func() { b := make([]byte, 1); os.Stdin.Read(b); select {} }()
	if len(os.Args) > 1 {
		runtime.GOMAXPROCS(4)
		go spin()
	}
	time.Sleep(100 * time.Millisecond)
	fmt.Println("ready")
	select {}
}
