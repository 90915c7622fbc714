package container

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"gocat/internal/oci/state"
)

// Report is the container as the runtime specification has engines and hooks see
// it.
func Report(c *state.Container, status state.Status) specs.State {
	s := specs.State{Version: specs.Version, ID: c.ID, Status: specs.ContainerState(status), Pid: c.Pid, Bundle: c.Bundle, Annotations: c.Annotations}
	if status == state.Stopped {
		s.Pid = 0
	}
	return s
}

// runHooks runs hooks one after the other, each with the container's state on its
// standard input, until one fails.
func runHooks(kind string, hooks []specs.Hook, s specs.State) error {
	if len(hooks) == 0 {
		return nil
	}
	input, err := json.Marshal(s)
	if err != nil {
		return err
	}
	for i := range hooks {
		if err := runHook(&hooks[i], input); err != nil {
			return fmt.Errorf("hooks.%s: hook %d, %s: %w", kind, i, hooks[i].Path, err)
		}
	}
	return nil
}

func runHook(h *specs.Hook, input []byte) error {
	ctx := context.Background()
	if h.Timeout != nil {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*h.Timeout)*time.Second)
		defer cancel()
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, h.Path)
	if len(h.Args) > 0 {
		cmd.Args = h.Args
	}
	cmd.Env = append([]string{}, h.Env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &out
	cmd.WaitDelay = time.Second // for what a killed hook has started
	err := cmd.Run()
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("it took longer than its timeout of %d s", *h.Timeout)
	case err != nil:
		text := strings.TrimSpace(out.String())
		return fmt.Errorf("%w: %.300q", err, text)
	}
	return nil
}
