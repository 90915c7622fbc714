package gobuild

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// progress tells Config.Progress what the go command does, and for how long it
// has, since compiling is silent and may take minutes.
type progress struct {
	mu    sync.Mutex
	what  string
	began time.Time
	show  func(string)
}

// start begins to tell of a build, until the function that it returns is called.
func (p *progress) start(c Config) (stop func()) {
	if c.Progress == nil {
		return func() {}
	}
	p.mu.Lock()
	p.what, p.began, p.show = "compiling "+c.Package, time.Now(), c.Progress
	p.mu.Unlock()
	tick, done := time.NewTicker(time.Second), make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-tick.C:
				p.mu.Lock()
				p.show(fmt.Sprintf("%s (%d s)", p.what, int(time.Since(p.began).Seconds())))
				p.mu.Unlock()
			case <-done:
				return
			}
		}
	}()
	return func() {
		tick.Stop()
		close(done)
		<-ended
	}
}

// Write has what the go command prints: of that, what it downloads.
func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for line := range strings.Lines(string(b)) {
		if what, ok := strings.CutPrefix(strings.TrimSpace(line), "go: downloading "); ok {
			p.what = "downloading " + what
		}
	}
	return len(b), nil
}
