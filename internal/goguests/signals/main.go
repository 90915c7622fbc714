// Command signals is a unikernel that waits for SIGTERM or SIGINT, says that it
// came and ends.
//
//	signals wait     sleeping
//	signals busy     looking for it all the time
//	signals stay     and does not end then
//	signals none     without asking for them
//	signals self     for signals of its own
//	signals profile  making a profile of itself
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
	"time"
)

func main() {
	mode := "wait"
	if len(os.Args) == 2 {
		mode = os.Args[1]
	}
	ctx := context.Background()
	if mode != "none" {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
		defer stop()
	}
	fmt.Println("begun")
	switch mode {
	case "self":
		self()
		return
	case "profile":
		profile()
		return
	case "none":
		time.Sleep(time.Hour)
	case "busy":
		for n := 0; ctx.Err() == nil; n++ {
		}
	}
	<-ctx.Done()
	fmt.Println(context.Cause(ctx))
	if mode == "stay" {
		time.Sleep(time.Hour)
	}
}

// self sends signals to this program.
func self() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1, syscall.SIGHUP)
	for range 100 {
		for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGHUP} {
			if err := syscall.Kill(syscall.Getpid(), s); err != nil {
				fmt.Println(err)
			}
			if got := <-c; got != s {
				fmt.Println("got", got)
			}
		}
	}
	signal.Ignore(syscall.SIGHUP)
	syscall.Kill(syscall.Getpid(), syscall.SIGHUP)
	fmt.Println("ends")
	signal.Reset(syscall.SIGTERM)
	syscall.Kill(syscall.Getpid(), syscall.SIGTERM)
	time.Sleep(time.Hour)
}

// profile looks for a function that takes time in a profile.
func profile() {
	var b bytes.Buffer
	if err := pprof.StartCPUProfile(&b); err != nil {
		fmt.Println(err)
	}
	busyFunction()
	pprof.StopCPUProfile()
	r, err := gzip.NewReader(&b)
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := io.ReadAll(r)
	fmt.Println(bytes.Contains(text, []byte("main.busyFunction")), err)
}

//go:noinline
func busyFunction() {
	n := 0
	for start := time.Now(); time.Since(start) < 500*time.Millisecond; {
		for range 100000 {
			n++
		}
	}
}
