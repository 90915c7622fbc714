package bench

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// settle is how long a guest has, after an answer, to go back to waiting.
const settle = 5 * time.Millisecond

// memory is what a cat that waits for input occupies.
func (l *lab) memory(s *subject) (sample, error) {
	w := cat(chunk, s.ring)
	w.name, w.shown = w.name+"-shown", true
	r, err := l.startCat(s, w, []byte{'x'})
	if err != nil {
		return nil, err
	}
	defer l.destroyCat(r)
	if err := l.answer(s, r, 'x'); err != nil {
		return nil, err
	}
	time.Sleep(settle)
	rollup := fmt.Sprintf("/proc/%d/smaps_rollup", r.pid)
	rss, err1 := field(rollup, "Rss:")
	pss, err2 := field(rollup, "Pss:")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	_, err = l.endCat(s, r)
	return sample{rss, pss}, err
}

// idle starts n cats that wait for input at the same time. It gives the time
// until all have answered, and by how much the memory available on the host
// shrinks, both divided by n.
func (l *lab) idle(s *subject, n int) (sample, error) {
	cats := make([]*running, 0, n)
	defer func() {
		for _, r := range cats {
			r.kill() // all first, then wait for each
		}
		for _, r := range cats {
			l.destroyCat(r)
		}
	}()
	before, err := settled()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	for range n {
		r, err := l.startCat(s, cat(chunk, s.ring), []byte{'x'})
		if err != nil {
			return nil, err
		}
		cats = append(cats, r)
	}
	for _, r := range cats {
		if err := l.answer(s, r, 'x'); err != nil {
			return nil, err
		}
	}
	took := time.Since(began)
	after, err := settled()
	if err != nil {
		return nil, err
	}
	if !s.spins {
		for _, r := range cats {
			r.in.closeWrite()
		}
	}
	for _, r := range cats {
		if _, err := l.endCat(s, r); err != nil {
			return nil, err
		}
	}
	return sample{ns(took) / float64(n), (before - after) / float64(n)}, nil
}

// settled is available when it no longer changes much: the kernel takes a while
// to free what ended processes had, virtual machines above all.
func settled() (float64, error) {
	const (
		little = 128 << 10 // bytes
		tries  = 25
	)
	last, err := available()
	for range tries {
		if err != nil {
			break
		}
		time.Sleep(2 * settle)
		now, e := available()
		if change := now - last; change < little && change > -little {
			return now, e
		}
		last, err = now, e
	}
	return last, err
}

// available is the memory in bytes that the host has for new programs: what it
// says itself, and pages that processors keep to themselves, which are free too.
func available() (float64, error) {
	// Each processor keeps what it has counted to itself for a while, unless the
	// kernel is asked by root. (Any error leaves it at that.)
	os.ReadFile("/proc/sys/vm/stat_refresh")
	kept, err := keptPages()
	if err != nil {
		return 0, err
	}
	n, err := field("/proc/meminfo", "MemAvailable:")
	return n + kept*float64(os.Getpagesize()), err
}

// keptPages is how many free pages are in the processors' own lists.
func keptPages() (float64, error) {
	b, err := os.ReadFile("/proc/zoneinfo")
	if err != nil {
		return 0, err
	}
	total := 0.0
	for line := range strings.Lines(string(b)) {
		if words := strings.Fields(line); len(words) == 2 && words[0] == "count:" {
			n, err := strconv.ParseUint(words[1], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("/proc/zoneinfo: %w", err)
			}
			total += float64(n)
		}
	}
	return total, nil
}

// field is a number of kB in a file of /proc, in bytes.
func field(path, name string) (float64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == name {
			n, err := strconv.ParseUint(words[1], 10, 64)
			return float64(n) * 1024, err
		}
	}
	return 0, fmt.Errorf("no %s in %s", name, path)
}
