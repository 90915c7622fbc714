package goguests

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"gocat/internal/image"
	"gocat/internal/testhost"
)

var passed = testhost.Result{Stdout: "busy: passed\n"}

// TestBusy runs goroutines that never give way beside others that must make
// progress, and beside the garbage collector, which stops them all.
func TestBusy(t *testing.T) {
	testhost.Slow(t)
	runs := 1
	if big() {
		runs = 50
	}
	preempting(t, func(t *testing.T, r runner) {
		for _, what := range []string{"loop", "poll", "retry", "collect", "processors"} {
			t.Run(what, func(t *testing.T) {
				for range runs {
					r.check(t, r.command("busy", nil, what).Run(t), passed)
				}
			})
		}
	})
}

// TestState computes with registers and flags of all kinds while the timer
// interrupts, and where there is none.
func TestState(t *testing.T) {
	rounds := "100"
	switch {
	case testing.Short():
		rounds = "3"
	case big():
		rounds = "2000"
	}
	under(t, func(t *testing.T, r runner) {
		r.check(t, r.command("busy", nil, "state", rounds).Run(t), passed)
	})
}

// TestIdle has a program wait for two seconds: the timer goes by the time that it
// uses, and that is none.
func TestIdle(t *testing.T) {
	if testing.Short() {
		t.Log("in an emulated machine the start alone takes longer")
		return
	}
	const most = 50 // of 200 that two seconds of work would have
	preempting(t, func(t *testing.T, r runner) {
		n := 0
		if r.target == image.SPT {
			r.first[0] = "trace"
			got := r.command("busy", nil, "idle").Run(t)
			if n = strings.Count(got.Stderr, "SIGVTALRM"); !strings.Contains(got.Stderr, "epoll_pwait") {
				t.Fatalf("%+v", got)
			}
		} else {
			got := r.command("busy", []string{"-v"}, "idle").Run(t)
			m := regexp.MustCompile(` traps, (\d+) ticks, `).FindStringSubmatch(got.Stderr)
			if m == nil {
				t.Fatalf("%+v", got)
			}
			n, _ = strconv.Atoi(m[1])
		}
		if n > most {
			t.Errorf("%d ticks", n)
		}
	})
}

// TestTold looks for what gocat says of notes of its own and of the timer.
func TestTold(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"inspect " + file(t, "hello", image.HVT), "\n  TMR1  timer words 0x"},
		{"inspect " + file(t, "hello", image.SPT), "\n  TMR1  timer words 0x"},
		{"inspect " + file(t, "hello", image.SPT), "\n  FLT1  signal handler 0x"},
		{"run -v " + file(t, "hello", image.SPT), "gocat: timer: on\n"},
		{"run -v " + file(t, "hello", image.HVT), "gocat: timer: on\n"},
		{"run -v --cpl=0 " + file(t, "hello", image.HVT), "gocat: timer: off: there is none at privilege level 0\n"},
	} {
		if strings.HasSuffix(tt.args, ".hvt") && strings.HasPrefix(tt.args, "run") {
			needKVM(t, image.HVT)
		}
		c := testhost.Command{Path: gocat, Args: strings.Fields(tt.args), Env: []string{"PATH=" + os.Getenv("PATH")}}
		if got := c.Run(t); !strings.Contains(got.Stdout+got.Stderr, tt.want) {
			t.Errorf("gocat %s: %+v; want %q", tt.args, got, tt.want)
		}
	}
}

// preempting runs a test under the tenders that have a timer for their guests.
func preempting(t *testing.T, test func(t *testing.T, r runner)) {
	for _, target := range targets {
		t.Run(target.String(), func(t *testing.T) {
			needKVM(t, target)
			test(t, runner{t, target, gocat, []string{"run", "--backend=" + target.String()}, false})
		})
	}
}
