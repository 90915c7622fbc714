// Command serve is a web server of net/http that a signal ends in order: it
// answers what it is asked before, and then says so.
//
//	serve
//	serve self   asks itself, over the loopback
//
// It uses the standard library alone, and nothing that Go 1.25 lacks.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// The answer comes in two parts, with time between them for a signal.
const (
	first, second = "first part, ", "second part\n"
	between       = 20 * time.Millisecond
)

var answers atomic.Int64

func answer(w http.ResponseWriter, _ *http.Request) {
	io.WriteString(w, first)
	http.NewResponseController(w).Flush()
	time.Sleep(between)
	io.WriteString(w, second)
	answers.Add(1)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l, err := net.Listen("tcp", ":80")
	if err != nil {
		fmt.Println("serve:", err)
		os.Exit(1)
	}
	s := http.Server{Handler: http.HandlerFunc(answer)}
	ended := make(chan error)
	go func() {
		<-ctx.Done()
		ended <- s.Shutdown(context.Background())
	}()
	if len(os.Args) > 1 {
		go func() {
			for range 100 {
				ask()
			}
			syscall.Kill(os.Getpid(), syscall.SIGTERM)
		}()
	}
	fmt.Println("serve: ready")
	if err := s.Serve(l); err != http.ErrServerClosed {
		fmt.Println("serve:", err)
		os.Exit(1)
	}
	err = <-ended
	fmt.Println("serve: ended:", answers.Load(), "answers,", err)
}

// ask asks this server.
func ask() {
	r, err := http.Get("http://localhost/")
	if err != nil {
		fmt.Println("serve:", err)
		os.Exit(1)
	}
	defer r.Body.Close()
	if b, err := io.ReadAll(r.Body); err != nil || string(b) != first+second {
		fmt.Printf("serve: answer %q, %v\n", b, err)
		os.Exit(1)
	}
}
