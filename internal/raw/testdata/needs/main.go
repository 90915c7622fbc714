// Command needs does early what its argument says, most of which takes the Go
// runtime. Then its main, which must be reached as if nothing had happened,
// prints the state of the process.
package main

import (
	"errors"
	"fmt"
	"math/big"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

func entry()

var early = do // entry passes it on

var stack uintptr // as ordinary found it

// What keeps the compiler from knowing.
var (
	zero   int
	ten    = 10
	text   = "text"
	sink   any
	slice  []int
	table  map[string]int
	filled = map[string]int{"one": 1}
	pool   = sync.Pool{New: func() any { return new(int) }}
	once   sync.Once
	queue  chan int
	where  *int
	writer fmt.Stringer
	number = time.Duration(1)
	page   []byte
)

type large struct{ a [1000]int }

// needs are things that take the runtime.
var needs = [...]struct {
	name string
	do   func()
}{
	{"new", func() { sink = new(int) }},
	{"new large", func() { sink = new(large) }},
	{"new pointers", func() { sink = new(*int) }},
	{"make", func() { slice = make([]int, ten) }},
	{"make huge", func() { page = make([]byte, ten<<20) }},
	{"make negative", func() { slice = make([]int, zero-1) }},
	{"append", func() { slice = append(slice, 1) }},
	{"concat", func() { text = text + strconv.Itoa(ten*1000) + text }},
	{"bytes", func() { page = []byte(text) }},
	{"string", func() { text = string(unsafe.Slice(unsafe.StringData(text), ten-6)) + "x" }},
	{"itoa", func() { text = strconv.Itoa(ten * 12345) }},
	{"convert", func() { sink = ten * 12345 }},
	{"convert string", func() { sink = text[1:] }},
	{"closure", func() { n := ten; sink = func() int { n++; return n } }},
	{"set initialised", func() { number = 2 }},
	{"sprintf", func() { text = fmt.Sprintf("%d", ten) }},
	{"errorf", func() { sink = fmt.Errorf("%w", errors.New(text)) }},
	{"join errors", func() { sink = errors.Join(unix.ENOENT) }},
	{"panic", func() { panic("early") }},
	{"panic error", func() { panic(unix.ENOENT) }},
	{"recover", func() { defer func() { sink = recover() }(); panic("early") }},
	{"index", func() { slice = slices.Clip(slice[:zero]); ten = slice[ten] }},
	{"slice", func() { text = text[ten:] }},
	{"array pointer", func() { sink = (*[8]int)(slice[:zero]) }},
	{"divide", func() { ten = 1 / zero }},
	{"nil", func() { *where = 1 }},
	{"nil method", func() { text = writer.String() }},
	{"assertion", func() { sink = sink.(fmt.Stringer) }},
	{"assertion ok", func() { sink = number; w, ok := sink.(fmt.Stringer); writer = w; ten = len(strconv.FormatBool(ok)) }},
	{"map write", func() { table["one"] = 1 }},
	{"map make", func() { table = make(map[string]int, ten); table["one"] = 1 }},
	{"channel make", func() { queue = make(chan int, 1) }},
	{"channel send", func() { queue <- 1 }},
	{"channel receive", func() { ten = <-queue }},
	{"channel close", func() { close(queue) }},
	{"select", func() {
		select {
		case <-queue:
		case queue <- 1:
		}
	}},
	{"go", func() { go recurse(1) }},
	{"gosched", func() { runtime.Gosched() }},
	{"gc", func() { runtime.GC() }},
	{"lock thread", func() { runtime.LockOSThread() }},
	{"finalizer", func() { runtime.SetFinalizer(&stack, nil) }},
	{"stack", func() { page = debug.Stack() }},
	{"caller", func() { _, text, ten, _ = runtime.Caller(0) }},
	{"pool", func() { sink = pool.Get() }},
	{"wait", func() { var w sync.WaitGroup; w.Add(1); w.Wait() }},
	{"lock twice", func() { var m sync.Mutex; m.Lock(); m.Lock() }},
	{"once", func() { once.Do(func() { sink = new(int) }) }},
	{"sleep", func() { time.Sleep(1) }},
	{"timer", func() { sink = time.NewTimer(time.Hour) }},
	{"system call", func() { unix.Close(-1) }},
	{"print", func() { println("early") }},
	{"open", func() { sink, _ = os.Open("/dev/null") }},
	{"reflect", func() { sink = reflect.New(reflect.TypeFor[int]()) }},
	{"regexp", func() { sink = regexp.MustCompile("a+") }},
	{"big", func() { sink = big.NewInt(int64(ten)).Exp(big.NewInt(3), big.NewInt(1000), nil) }},
	{"builder", func() { var b strings.Builder; b.WriteString(text); text = b.String() }},
	{"defers", func() {
		for i := range ten {
			defer func() { zero += i }()
		}
	}},
	{"goexit", func() { runtime.Goexit() }},
	{"breakpoint", runtime.Breakpoint},
	{"recursion", func() { ten = recurse(1 << 40) }},
	{"arena used up", func() {
		for {
			page = raw.Slice[byte](ten*1000, ten*1000)
		}
	}},
}

//go:noinline
func recurse(n int) int {
	if n == 0 {
		return 0
	}
	return recurse(n-1) + 1
}

func find(name string) (do func()) {
	for i := range needs {
		if needs[i].name == name {
			return needs[i].do
		}
	}
	return nil
}

// reached is written early, where nothing else can be said.
var reached [2]bool

func do(args []string) {
	if len(args) != 2 {
		return
	}
	raw.Open("/dev/null", unix.O_RDONLY) // to be closed
	reached[0] = true
	if args[1] == "succeed" {
		raw.Write(1, unsafe.Slice(unsafe.StringData(done), len(done)))
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 7, 0, 0)
	}
	if f := find(args[1]); f != nil {
		f()
		reached[1] = true
	}
}

const done = "early\n"

// disturbed becomes another program, with every other signal blocked and every
// third ignored.
func disturbed(args []string) {
	runtime.LockOSThread()
	ignore := [4]uint64{1}
	for sig := uintptr(3); sig <= 64; sig += 3 {
		unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&ignore)), 0, 8, 0, 0)
	}
	block := uint64(0x5555555555555555)
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&block)), 0, 8, 0, 0)
	argv, err := syscall.SlicePtrFromStrings(args)
	if err != nil {
		panic(err)
	}
	var envp *byte
	_, _, errno := unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(argv[0])),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envp)))
	panic(errno)
}

func main() {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "list":
		for _, n := range needs {
			fmt.Println(n.name)
		}
		return
	case len(os.Args) > 2 && os.Args[1] == "disturbed":
		disturbed(os.Args[2:])
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	fmt.Printf("begun %v ended %v early %v aligned %v arguments %q\n", reached[0], reached[1], raw.Early(), stack%16 == 0, os.Args[1:])
	for line := range strings.Lines(string(status)) {
		for _, field := range []string{"SigBlk", "SigIgn", "SigCgt", "FDSize"} {
			if strings.HasPrefix(line, field) {
				fmt.Print(line)
			}
		}
	}
	for fd := range 20 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			fmt.Println("descriptor", fd)
		}
	}
	// The runtime works.
	var group sync.WaitGroup
	total := make(chan int, 100)
	for i := range 100 {
		group.Go(func() { total <- len(make([]byte, i<<10)) })
	}
	group.Wait()
	runtime.GC()
	close(total)
	sum := 0
	for n := range total {
		sum += n
	}
	fmt.Println("sum", sum, filled)
}
