package bench

import (
	"fmt"

	"gocat/internal/image"
)

// sample is one measurement, a value for each metric.
type sample []float64

// benchmark is something that is measured of every subject it includes.
type benchmark struct {
	name, title, about string
	buffer             uint64  // throughput: how much one read of the cat takes, in bytes
	weight             float64 // seconds it should get of a run
	rounds             int     // more of them tell nothing new
	metrics            []Metric

	includes func(*subject) bool
	prepare  func(*lab, *subject) error // checks the results and warms up; nil: measure once
	measure  func(*lab, *subject) (sample, error)
}

// Units of values.
const (
	nanoseconds = "ns"
	perGiB      = "ns/GiB"
	bytesUnit   = "B"
)

func everything(s *subject) bool { return !s.warm && !s.native }

// tended leaves out the host's cat.
func tended(s *subject) bool { return s.tender != nil && !s.warm }

// buffer is a size of the cat's buffer, and how much is copied with it: less with
// a small one, which takes longer.
type buffer struct {
	size   uint64
	name   string
	amount int64
	weight float64
}

func buffers(quick bool) []buffer {
	if quick {
		return []buffer{{4 << 10, "4KiB", 2 << 20, 2}, {64 << 10, "64KiB", 16 << 20, 2}, {1 << 20, "1MiB", 64 << 20, 3}}
	}
	return []buffer{{4 << 10, "4KiB", 8 << 20, 20}, {64 << 10, "64KiB", 256 << 20, 25},
		{256 << 10, "256KiB", 512 << 20, 35}, {1 << 20, "1MiB", 1 << 30, 60}}
}

// benchmarks are all that there are.
func benchmarks(quick bool) []*benchmark {
	pick := func(quickly, slowly int) int {
		if quick {
			return quickly
		}
		return slowly
	}
	weight := func(quickly, slowly int) float64 { return float64(pick(quickly, slowly)) }
	wall := Metric{Name: "wall", Title: "wall time", Unit: nanoseconds}
	cpu := Metric{Name: "cpu", Title: "CPU time of the process", Unit: nanoseconds}

	all := []*benchmark{{
		name: "start", title: "Start to exit", weight: weight(2, 25), rounds: 400,
		about:   "A guest that prints a line and exits; cat copies /dev/null.",
		metrics: []Metric{wall, cpu}, includes: everything,
		measure: func(l *lab, s *subject) (sample, error) { return l.startToExit(s) },
	}, {
		name: "first-byte", title: "First byte", weight: weight(2, 20), rounds: 300,
		about:   "From start until a byte that is in the pipe already comes out of the cat.",
		metrics: []Metric{wall}, includes: everything,
		measure: func(l *lab, s *subject) (sample, error) { return l.firstByte(s) },
	}}

	if !quick && haveGo() {
		all = append(all, &benchmark{
			name: "start/go", title: "Start to exit of a Go program", weight: 15, rounds: 400,
			about:   "A program that prints a line with fmt and exits, built by the installed Go toolchain: as a process of the host, and by gocat build as a guest.",
			metrics: []Metric{wall, cpu}, includes: runsGo,
			measure: func(l *lab, s *subject) (sample, error) { return l.startGo(s) },
		})
	}

	for _, b := range buffers(quick) {
		amount := map[*subject]int64{} // what each copies
		all = append(all, &benchmark{
			name: "throughput/" + b.name, title: "Throughput, buffer of " + human(float64(b.size), bytesUnit), buffer: b.size,
			weight: b.weight, rounds: 60,
			about: fmt.Sprintf("%s through the cat, less where that takes more than half a second, between two pipes that are filled and drained by splice(2). The host's cat has a buffer of its own size.",
				human(float64(b.amount), bytesUnit)),
			metrics: []Metric{
				{Name: "wall", Title: "wall time a GiB", Unit: perGiB},
				{Name: "cpu", Title: "CPU time of the process a GiB", Unit: perGiB},
			},
			includes: everything,
			prepare: func(l *lab, s *subject) error {
				v, err := l.throughput(s, cat(b.size, s.ring), min(b.amount, checked)+oddTail, true)
				if err != nil {
					return err
				}
				amount[s] = bearable(b.amount, v[0])
				_, err = l.throughput(s, cat(b.size, s.ring), amount[s], false)
				return err
			},
			measure: func(l *lab, s *subject) (sample, error) {
				return l.throughput(s, cat(b.size, s.ring), amount[s], false)
			},
		})
	}

	for _, mb := range []uint64{0, 100} {
		all = append(all, &benchmark{
			name: fmt.Sprintf("snapshot/%dMB", mb), title: fmt.Sprintf("Start of a guest that has used %d MB before", mb), weight: weight(2, 10), rounds: 400,
			about:   "Sealed while it waited for its input, whose end is there when it is started: until it has found it and exited. Beside it guests that start, print a line and exit.",
			metrics: []Metric{wall, cpu}, includes: func(s *subject) bool { return s.warm || s.name == "sealed" || s.name == "hvt" },
			measure: func(l *lab, s *subject) (sample, error) { return l.startWarm(s, mb) },
		})
	}

	requests := func(s *subject) int {
		if s.tender.Target == image.SPT {
			return pick(50_000, 200_000)
		}
		return pick(500, 2000)
	}
	trip := []Metric{{Name: "wall", Title: "wall time of one", Unit: nanoseconds}}
	return append(all, &benchmark{
		name: "round-trip/clock", title: "Round trip: time of day", weight: weight(2, 15), rounds: 100,
		about:   "One system call (clock_gettime) of an spt guest, one hypercall (walltime) of an hvt guest.",
		metrics: trip, includes: func(s *subject) bool { return tended(s) && !s.ring },
		measure: func(l *lab, s *subject) (sample, error) {
			n := requests(s)
			return l.roundTrip(s, clock(uint64(n)), clock(0), n)
		},
	}, &benchmark{
		name: "round-trip/read", title: "Round trip: read where there is nothing", weight: weight(2, 15), rounds: 100,
		about:   "One read of a network device without a packet: a system call of an spt guest, a hypercall of an hvt guest, with hvt-ring a request in the network ring.",
		metrics: trip, includes: tended,
		measure: func(l *lab, s *subject) (sample, error) {
			n := requests(s)
			return l.roundTrip(s, read(uint64(n), s.ring), read(0, s.ring), n)
		},
	}, &benchmark{
		name: "wake-up", title: "Wake-up", weight: weight(2, 20), rounds: 100,
		about:   "A byte into a cat that waits for input, until it comes out: there and back through two pipes.",
		metrics: []Metric{wall}, includes: everything,
		measure: func(l *lab, s *subject) (sample, error) { return l.wakeUp(s, pick(100, 1000)) },
	}, &benchmark{
		name: "memory", title: "Memory of an idle cat", weight: weight(2, 10), rounds: 30,
		about: "A cat that has answered once and waits for input, as /proc/PID/smaps_rollup has it (of gocat with --isolate=none, as otherwise only root may read it). It does not count what the kernel keeps for the process.",
		metrics: []Metric{
			{Name: "rss", Title: "resident", Unit: bytesUnit},
			{Name: "pss", Title: "resident, each shared page divided among its users", Unit: bytesUnit},
		},
		includes: everything,
		measure:  func(l *lab, s *subject) (sample, error) { return l.memory(s) },
	}, &benchmark{
		name: "idle", title: fmt.Sprintf("%d idle cats", pick(20, 50)), weight: weight(4, 25), rounds: 20,
		about: "As many cats at once, started one after the other. Memory is by how much what the host has left shrinks, so it counts what the kernel keeps for them, and what other programs do meanwhile.",
		metrics: []Metric{
			{Name: "start", Title: "time until all have answered, each", Unit: nanoseconds},
			{Name: "memory", Title: "memory of the host, each", Unit: bytesUnit},
		},
		includes: everything,
		measure:  func(l *lab, s *subject) (sample, error) { return l.idle(s, pick(20, 50)) },
	})
}

// bearable is how much of an amount a subject copies in half a second or so, if
// it takes perGiB nanoseconds a GiB; a few MiB at least.
func bearable(amount int64, perGiB float64) int64 {
	return min(amount, max(8<<20, int64(5e8/perGiB*(1<<30))))
}

// checked is how much is copied to compare every byte, if that is not more than
// is measured; oddTail makes it a multiple of no buffer.
const (
	checked = 16 << 20
	oddTail = 4321
)
