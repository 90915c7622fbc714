package usernet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// Checked is what became of a process, confined as one that serves a network,
// that tried something. gocat-net check prints one a line, as JSON.
type Checked struct {
	Name   string
	Status int      // exit status, or 128 + the signal that killed it
	Layers []string // what confined it, a line each
}

// Exit statuses of a process that lived on.
const (
	Let     = 70 // what it tried worked
	Refused = 71 // an error
)

// Names of what is let: doing nothing, and, to those whose guests may connect to
// anything, making a socket.
const (
	Nothing = "nothing"
	Socket  = "make a socket"
)

func (c Checked) String() string {
	b, _ := json.Marshal(c)
	return string(b)
}

// Err is what is wrong with what became of the process, if something is: it has to
// be killed by the filter, unless it did what is let.
func (c Checked) Err(config *Config) error {
	const killed = 128 + int(unix.SIGSYS)
	want := killed
	if c.Name == Nothing || c.Name == Socket && !config.Isolated() {
		want = Let
	}
	if c.Status != want {
		return fmt.Errorf("it ended with status %d, not %d", c.Status, want)
	}
	return nil
}

// checkTime is how long the attacks on a process that serves may take.
const checkTime = time.Minute

// CheckConfinement has gocat-net try what it must not be able to do.
func CheckConfinement(spec string) (all []Checked, err error) {
	program, err := Program()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "check", spec).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return nil, errors.New(oneLine(string(exit.Stderr)))
	}
	if err != nil {
		return nil, fmt.Errorf("gocat-net check: %w", err)
	}
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var c Checked
		if err := d.Decode(&c); err != nil {
			return nil, fmt.Errorf("gocat-net check: %w", err)
		}
		all = append(all, c)
	}
	return all, nil
}
