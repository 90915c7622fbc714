// Command stress exercises the Go runtime inside a unikernel and exits with
// status 0 when all of it worked.
//
//	stress [MB|grow|collect]
//
// With a number it also uses a slice of so many MB. With grow it does nothing but
// use ever more memory, until the runtime says that there is no more; with
// collect, nothing but keep the garbage collector busy, in 80 MB.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	big := 0
	if len(os.Args) > 1 && os.Args[1] == "grow" {
		grow()
	}
	if len(os.Args) > 1 && os.Args[1] == "collect" {
		collect()
		return
	}
	if len(os.Args) > 1 {
		var err error
		if big, err = strconv.Atoi(os.Args[1]); err != nil {
			fatal(err)
		}
	}
	for _, t := range []struct {
		name string
		run  func() error
	}{
		{"goroutines", goroutines},
		{"timers", timers},
		{"contexts", contexts},
		{"mutexes", mutexes},
		{"threads", threads},
		{"garbage", garbage},
		{"panics", panics},
		{"pipes", pipes},
		{"standard library", library},
		{"fairness", fairness},
	} {
		start := time.Now()
		if err := t.run(); err != nil {
			fatal(fmt.Errorf("%s: %w", t.name, err))
		}
		if os.Getenv("V") != "" {
			fmt.Println(t.name, time.Since(start).Round(time.Millisecond))
		}
	}
	if big > 0 {
		b := make([]byte, big<<20)
		for i := 0; i < len(b); i += 4096 {
			if b[i] != 0 {
				fatal(errors.New("fresh memory is not zero"))
			}
			b[i] = byte(i >> 12)
		}
		for i := 0; i < len(b); i += 4096 {
			if b[i] != byte(i>>12) {
				fatal(errors.New("memory changed"))
			}
		}
	}
	fmt.Println("stress: passed")
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "stress:", err)
	os.Exit(1)
}

func goroutines() error {
	const n = 1000
	var wg sync.WaitGroup
	ch := make(chan int, 16)
	for i := range n {
		wg.Go(func() {
			for range 10 {
				runtime.Gosched()
			}
			ch <- i
		})
	}
	go func() { wg.Wait(); close(ch) }()
	sum := 0
	for v := range ch {
		sum += v
	}
	if want := n * (n - 1) / 2; sum != want {
		return fmt.Errorf("sum %d, expected %d", sum, want)
	}
	return nil
}

func timers() error {
	const n = 200
	var wg sync.WaitGroup
	var early atomic.Int32
	for i := range n {
		wg.Go(func() {
			d := time.Duration(i%20) * time.Millisecond
			start := time.Now()
			time.Sleep(d)
			if time.Since(start) < d {
				early.Add(1)
			}
		})
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for range 10 {
		<-tick.C
	}
	wg.Wait()
	if early.Load() > 0 {
		return fmt.Errorf("%d sleepers woke early", early.Load())
	}
	return nil
}

func contexts() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	select {
	case <-ctx.Done():
		return checkIs(ctx.Err(), context.DeadlineExceeded)
	case <-time.After(10 * time.Second):
		return errors.New("no deadline")
	}
}

func checkIs(err, want error) error {
	if !errors.Is(err, want) {
		return fmt.Errorf("%v, expected %v", err, want)
	}
	return nil
}

func mutexes() error {
	var mu sync.RWMutex
	var wg sync.WaitGroup
	m := make(map[int]int)
	for i := range 50 {
		wg.Go(func() {
			for j := range 200 {
				if j%4 == 0 {
					mu.Lock()
					m[(i*j)%97]++
					mu.Unlock()
				} else {
					mu.RLock()
					_ = m[j%97]
					mu.RUnlock()
				}
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, v := range m {
		sum += v
	}
	if sum != 50*50 {
		return fmt.Errorf("%d increments, expected %d", sum, 50*50)
	}
	return nil
}

func threads() error {
	const n = 20
	var wg sync.WaitGroup
	ring := make([]chan int, n+1)
	for i := range ring {
		ring[i] = make(chan int)
	}
	for i := range n {
		wg.Go(func() {
			runtime.LockOSThread()
			if i%2 == 0 {
				defer runtime.UnlockOSThread()
			} // else the thread ends with the goroutine
			for range 10 {
				ring[i+1] <- <-ring[i] + 1
			}
		})
	}
	for range 10 {
		ring[0] <- 0
		if v := <-ring[n]; v != n {
			return fmt.Errorf("%d, expected %d", v, n)
		}
	}
	wg.Wait()
	return nil
}

// grow makes a list without end.
func grow() {
	type element struct {
		next *element
		_    [1000]byte
	}
	var list *element
	for {
		list = &element{next: list}
	}
}

// collect makes garbage beside 25 MB that stay in use, with a collector that has
// to run most of the time.
func collect() {
	keep := tree(19, 1)
	debug.SetGCPercent(5)
	for start := time.Now(); time.Since(start) < 2*time.Second; {
		for range 5000 {
			sink.Store(new([1024]byte))
		}
	}
	runtime.KeepAlive(keep)
	fmt.Println("stress: passed")
}

type node struct {
	left, right *node
	v           uint64
}

func tree(depth int, v uint64) *node {
	if depth == 0 {
		return &node{v: v}
	}
	return &node{tree(depth-1, 2*v), tree(depth-1, 2*v+1), v}
}

func (n *node) sum() uint64 {
	if n == nil {
		return 0
	}
	return n.v + n.left.sum() + n.right.sum()
}

func garbage() error {
	keep := tree(14, 1)
	want := keep.sum()
	var wg sync.WaitGroup
	var bad atomic.Int32
	for range 4 {
		wg.Go(func() {
			first := tree(12, 1).sum()
			for i := range 60 {
				if tree(12, 1).sum() != first {
					bad.Add(1)
				}
				b := make([]byte, 1<<(10+i%10))
				for _, c := range b {
					if c != 0 {
						bad.Add(1)
						break
					}
				}
				for i := range b {
					b[i] = 0xa5
				}
			}
		})
	}
	wg.Wait()
	runtime.GC()
	debug.FreeOSMemory()
	if keep.sum() != want || bad.Load() > 0 {
		return errors.New("the heap is corrupt")
	}
	return nil
}

func panics() (err error) {
	for i := range 100 {
		func() {
			defer func() {
				if r := recover(); r == nil {
					err = errors.New("no panic")
				}
			}()
			switch i % 4 {
			case 0:
				var a []int
				_ = a[i]
			case 1:
				panic(errors.New("own"))
			case 2:
				var m map[string]int
				//lint:ignore SA5000 to panic is what is wanted
				m["x"] = i
			case 3:
				var e any = i
				_ = e.(string)
			}
		}()
	}
	return err
}

func pipes() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	data := bytes.Repeat([]byte("0123456789abcdef"), 20000)
	go func() {
		w.Write(data)
		w.Close()
	}()
	got, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, data) {
		return fmt.Errorf("%d bytes came through, expected %d", len(got), len(data))
	}
	return r.Close()
}

func library() error {
	type item struct {
		Name  string
		Value []float64
		Sub   map[string]*item
	}
	in := item{"a", []float64{1, 2.5, -3e9}, map[string]*item{"x": {Name: "ü"}}}
	for range 100 {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		var out item
		if err := json.Unmarshal(b, &out); err != nil {
			return err
		}
		if out.Sub["x"].Name != "ü" {
			return errors.New("json")
		}
	}
	sum := sha256.Sum256(bytes.Repeat([]byte("a"), 1000000))
	if hex.EncodeToString(sum[:]) != "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0" {
		return errors.New("sha256")
	}
	a, b := make([]byte, 32), make([]byte, 32)
	rand.Read(a)
	rand.Read(b)
	if bytes.Equal(a, b) {
		return errors.New("random numbers repeat")
	}
	if y := time.Now().Year(); y < 2024 || y > 2200 {
		return fmt.Errorf("the year is %d", y)
	}
	return nil
}

var sink atomic.Pointer[[1024]byte]

// fairness: a goroutine that allocates and never waits lets others run.
func fairness() error {
	var done atomic.Bool
	go func() {
		for !done.Load() {
			sink.Store(new([1024]byte))
		}
	}()
	for range 3 {
		time.Sleep(time.Millisecond)
	}
	done.Store(true)
	return nil
}
