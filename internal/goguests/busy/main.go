// Command busy is a unikernel whose goroutines do not give way by themselves, for
// the timer of gocat's tenders. Where nothing interrupts it, it ends only with
// the arguments state and idle. It exits with status 0 when all went well.
//
//	busy loop|poll|retry|collect|processors|state ROUNDS|idle
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"math/big"
	"math/bits"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"gocat/guest/solo5"
)

func main() {
	err := fmt.Errorf("arguments %q", os.Args)
	switch {
	case len(os.Args) == 2 && os.Args[1] == "loop":
		err = loop()
	case len(os.Args) == 2 && os.Args[1] == "poll":
		err = poll()
	case len(os.Args) == 2 && os.Args[1] == "retry":
		err = retry()
	case len(os.Args) == 2 && os.Args[1] == "collect":
		err = collect()
	case len(os.Args) == 2 && os.Args[1] == "processors":
		err = processors()
	case len(os.Args) == 3 && os.Args[1] == "state":
		var rounds int
		if rounds, err = strconv.Atoi(os.Args[2]); err == nil {
			err = state(rounds)
		}
	case len(os.Args) == 2 && os.Args[1] == "idle":
		time.Sleep(2 * time.Second)
		err = nil
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "busy:", err)
		os.Exit(1)
	}
	fmt.Println("busy: passed")
}

func spin() {
	//lint:ignore SA5002 that is what it is for
	for {
	}
}

// loop has goroutines, timers and tickers go on beside loops without a call.
func loop() error {
	if info, err := solo5.ReadInfo(); err != nil || info.Tick <= 0 {
		return fmt.Errorf("no timer: %v", err)
	}
	go spin()
	go spin()
	fired := make(chan bool)
	time.AfterFunc(time.Millisecond, func() { close(fired) })
	<-fired
	tick := time.NewTicker(time.Millisecond)
	for range 3 {
		<-tick.C
	}
	ping, pong := make(chan int), make(chan int)
	go func() {
		for v := range ping {
			pong <- v + 1
		}
	}()
	for i := range 5 {
		ping <- i
		if v := <-pong; v != i+1 {
			return fmt.Errorf("%d came back for %d", v, i)
		}
	}
	return nil
}

// poll checks again and again whether it must end, while a ticker runs.
func poll() error {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	ticks := make(chan int, 1)
	go func() {
		t := time.NewTicker(10 * time.Millisecond)
		n := 0
		for {
			select {
			case <-t.C:
				n++
			case <-ctx.Done():
				ticks <- n
				return
			}
		}
	}()
	n := 0
	for {
		select {
		case <-ctx.Done():
			if got := <-ticks; got < 2 {
				return fmt.Errorf("%d ticks of 10 ms in 300 ms", got)
			}
			return nil
		default:
			n++
		}
	}
}

// retry has goroutines try to get locks that others hold which sleep meanwhile.
func retry() error {
	for range 3 {
		var mu sync.Mutex
		mu.Lock()
		go func() {
			time.Sleep(5 * time.Millisecond)
			mu.Unlock()
		}()
		for !mu.TryLock() {
		}
	}
	return nil
}

type node struct {
	next *node
	v    int
}

// collect has the garbage collector, which stops all goroutines, work beside a
// loop without a call, on what that loop's stack alone refers to, too.
func collect() error {
	list := func() (n *node) {
		for i := range 10000 {
			n = &node{n, i}
		}
		return n
	}
	go func() {
		keep := list()
		for n := keep; ; n = n.next {
			if n.next == nil {
				n = &node{keep, 0} // allocates once in a round
			}
		}
	}()
	go spin()
	keep := list()
	for range 5 {
		list()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
	}
	want := 9999
	for n := keep; n != nil; n = n.next {
		if n.v != want {
			return fmt.Errorf("%d in the list, expected %d", n.v, want)
		}
		want--
	}
	return nil
}

// processors has the runtime believe in more processors than there are, so that
// threads, and not only goroutines, are interrupted, while they hold its locks as
// well.
func processors() error {
	runtime.GOMAXPROCS(4)
	for range 6 {
		go spin()
	}
	if err := collect(); err != nil {
		return err
	}
	return loop()
}

// state has goroutines compute with all kinds of registers and flags, and
// compares what they get.
func state(rounds int) error {
	runtime.GOMAXPROCS(3)
	want := checksum()
	errs := make(chan error, 4)
	var wg sync.WaitGroup
	for range cap(errs) {
		wg.Go(func() {
			for i := range rounds {
				if got := checksum(); got != want {
					errs <- fmt.Errorf("round %d: %v, expected %v", i, got, want)
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

func checksum() (sum struct {
	ints   [4]uint64
	floats [4]float64
	copied [32]byte
	crc    uint32
	power  string
}) {
	// Flags: carries from one addition to the next.
	var a [4]uint64
	for i := range uint64(200_000) {
		var c uint64
		a[0], c = bits.Add64(a[0], ^i, 0)
		a[1], c = bits.Add64(a[1], i<<40, c)
		a[2], c = bits.Add64(a[2], ^uint64(0)-i, c)
		a[3], _ = bits.Add64(a[3], i*i, c)
	}
	sum.ints = a
	// Floating point.
	f := [4]float64{1, 2, 3, 4}
	for range 200_000 {
		f[0], f[1], f[2], f[3] = f[1]*0.5+0.25, f[2]*0.7-f[0]*0.1, f[3]*0.9+f[1]*0.01, f[0]+1/(f[2]*f[2]+1)
	}
	sum.floats = f
	// Strings, backwards too, and the widest registers.
	b := make([]byte, 300_000)
	for i := range b {
		b[i] = byte(i * 7)
	}
	for range 10 {
		copy(b[1:], b)
		copy(b, b[9:])
	}
	sum.copied, sum.crc = sha256.Sum256(b), crc32.ChecksumIEEE(b)
	// Assembler that keeps carries.
	n := new(big.Int).SetBytes(b[:200])
	sum.power = n.Exp(n, big.NewInt(65537), new(big.Int).SetBytes(b[200:400])).Text(36)
	return sum
}
