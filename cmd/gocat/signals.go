package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// untilSignal returns a context that ends when a signal asks the process to end,
// of which a second one ends the process at once. Function stop ends all that and
// returns the signal, or nil if none came.
func untilSignal() (ctx context.Context, stop func() os.Signal) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	caught := make(chan os.Signal, 1)
	go func() {
		select {
		case s := <-signals:
			caught <- s
		case <-ctx.Done():
			caught <- nil
		}
		signal.Stop(signals)
		cancel()
	}()
	return ctx, func() os.Signal {
		cancel()
		return <-caught
	}
}

// statusOf is the exit status of a process that a signal has ended.
func statusOf(s os.Signal) int { return 128 + int(s.(syscall.Signal)) }
