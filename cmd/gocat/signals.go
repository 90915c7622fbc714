package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// quit has SIGQUIT until a command has a use of its own for it.
var quit = make(chan os.Signal, 1)

// endOnQuit ends the process on SIGQUIT (^\ on a terminal), instead of printing
// all goroutines as Go programs do.
func endOnQuit() {
	if signal.Ignored(syscall.SIGQUIT) {
		return
	}
	signal.Notify(quit, syscall.SIGQUIT)
	go func() { os.Exit(statusOf(<-quit)) }()
}

// endings returns a channel that from now on gets the signals that ask a process
// to end, except those that were ignored when it started, as nohup does.
func endings() chan os.Signal {
	signal.Stop(quit)
	signals := make(chan os.Signal, 1)
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		if !signal.Ignored(sig) {
			signal.Notify(signals, sig)
		}
	}
	return signals
}

// untilSignal returns a context that ends when a signal asks the process to end.
// A second one, not before a second later, ends the process immediately:
// timeout(1) sends two. Function stop ends all that and returns the signal, or
// nil if none came.
func untilSignal() (ctx context.Context, stop func() os.Signal) {
	ctx, cancel := context.WithCancel(context.Background())
	signals, caught := endings(), make(chan os.Signal, 1)
	go func() {
		caught <- <-signals
		first := time.Now()
		cancel()
		for s := range signals {
			if time.Since(first) > time.Second {
				os.Exit(statusOf(s))
			}
		}
	}()
	return ctx, func() os.Signal {
		signal.Stop(signals)
		cancel()
		select {
		case s := <-caught:
			return s
		default:
			return nil
		}
	}
}

// statusOf is the exit status of a process that a signal has ended.
func statusOf(s os.Signal) int { return 128 + int(s.(syscall.Signal)) }
