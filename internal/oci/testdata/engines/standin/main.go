// Command standin is a runtime for the validation programs of OCI runtime-tools, whose
// containers run Linux programs: true, sleep, sh, and runtimetest, which looks at its
// own process. It calls gocat-oci with the same arguments. What it changes:
//
//   - At create, config.json has a unikernel in place of the program, and all other
//     fields as they are. When create has ended, the file is as before.
//
//   - At start, if the program is runtimetest, that is run before the unikernel begins:
//     in the namespaces, the root and the working directory of the container's process,
//     with its user, groups, capabilities, limits and the rest of what /proc says of it.
//     So it judges what the kernel has for the container.
//
//   - Where the program would write to /output, the unikernel prints, and what it has
//     printed is put there.
//
//   - memory.kernel and kernelTCP are left out: gocat refuses them.
//
// RUNTIME=standin, GOCAT_STANDIN_RUNTIME is gocat-oci, and GOCAT_STANDIN_TOOL is the
// unikernel (guests/tool). Without that, the runtime is another, and all that is changed
// is the version of the specification, to one that Debian's crun knows.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == becomeCommand {
		fmt.Fprintln(os.Stderr, "standin:", become(os.Args[2], os.Args[3:]))
		os.Exit(1)
	}
	err := run(os.Args[1:])
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "standin:", err)
		os.Exit(1)
	}
}

// runtime is gocat-oci with arguments.
func runtime(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Getenv("GOCAT_STANDIN_RUNTIME"), args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}

func run(args []string) error {
	verb := ""
	if len(args) > 0 {
		verb = args[0]
	}
	switch {
	case verb == "create":
		return create(args)
	case verb == "start" && len(args) == 2:
		return start(args[1])
	}
	return runtime(args...).Run()
}

// standIn is the unikernel's command line for a program's, and whether what it prints
// is what the program would write to /output.
func standIn(program []string) (args []string, writes bool, err error) {
	script := program[len(program)-1]
	switch {
	case program[0] == "true" || program[0] == "ls" || program[0] == "/runtimetest":
		return []string{"exit", "0"}, false, nil
	case program[0] == "sleep":
		return []string{"wait"}, false, nil
	case program[0] == "sh" && strings.HasPrefix(script, "echo 'process called' >> /output"):
		return []string{"echo", "process called"}, true, nil
	case program[0] == "sh" && script == "touch /output":
		return []string{"echo", "touched"}, true, nil
	}
	return nil, false, fmt.Errorf("no unikernel stands in for %q", program)
}

// create creates a container of a unikernel.
func create(args []string) error {
	bundle := "."
	for i, a := range args {
		if a == "--bundle" && i+1 < len(args) {
			bundle = args[i+1]
		}
	}
	config := filepath.Join(bundle, "config.json")
	was, err := os.ReadFile(config)
	if err != nil {
		return runtime(args...).Run() // which says why
	}
	var spec specs.Spec
	if err := json.Unmarshal(was, &spec); err != nil || spec.Process == nil || len(spec.Process.Args) == 0 || spec.Root == nil {
		return runtime(args...).Run()
	}
	changes, writes := map[string]any{"ociVersion": "1.0.2"}, false
	if tool := os.Getenv("GOCAT_STANDIN_TOOL"); tool != "" {
		var words []string
		if words, writes, err = standIn(spec.Process.Args); err != nil {
			return err
		}
		if err := copyTo(filepath.Join(root(&spec, bundle), "unikernel"), tool); err != nil {
			return err
		}
		changes = map[string]any{"process": map[string]any{"args": append([]string{"/unikernel"}, words...)},
			"linux": map[string]any{"resources": map[string]any{"memory": map[string]any{"kernel": nil, "kernelTCP": nil}}}}
	}
	changed, err := change(was, changes)
	if err == nil {
		err = os.WriteFile(config, changed, 0o644)
	}
	if err != nil {
		return err
	}
	cmd := runtime(args...)
	if writes {
		f, err := os.Create(printed(args[len(args)-1]))
		if err != nil {
			return err
		}
		defer f.Close()
		cmd.Stdout = f
	}
	return errors.Join(cmd.Run(), os.WriteFile(config, was, 0o644))
}

// change changes what there is of a JSON object; nil takes it out. Whatever else it has,
// such as what the specification does not know, stays.
func change(object []byte, changes map[string]any) ([]byte, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(object, &all); err != nil {
		return nil, err
	}
	for key, value := range changes {
		was, ok := all[key]
		within, deeper := value.(map[string]any)
		var err error
		switch {
		case !ok:
		case value == nil:
			delete(all, key)
		case deeper:
			all[key], err = change(was, within)
		default:
			all[key], err = json.Marshal(value)
		}
		if err != nil {
			return nil, err
		}
	}
	return json.Marshal(all)
}

// root is the host's path of a container's root directory.
func root(spec *specs.Spec, bundle string) string {
	if filepath.IsAbs(spec.Root.Path) {
		return spec.Root.Path
	}
	return filepath.Join(bundle, spec.Root.Path)
}

func copyTo(to, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

// printed is the file that has what the unikernel of a container prints.
func printed(id string) string { return filepath.Join(os.TempDir(), "printed-"+id) }

func state(id string) (s specs.State, err error) {
	out, err := exec.Command(os.Getenv("GOCAT_STANDIN_RUNTIME"), "state", id).Output()
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	return s, err
}

// start has runtimetest look, if the container is for that, and starts the unikernel.
func start(id string) error {
	if os.Getenv("GOCAT_STANDIN_TOOL") == "" {
		return runtime("start", id).Run()
	}
	s, err := state(id)
	if err != nil || s.Status != specs.StateCreated {
		return runtime("start", id).Run()
	}
	var spec specs.Spec
	config, err := os.ReadFile(filepath.Join(s.Bundle, "config.json"))
	if err == nil {
		err = json.Unmarshal(config, &spec)
	}
	if err != nil {
		return err
	}
	if spec.Process != nil && spec.Process.Args[0] == "/runtimetest" {
		if err := examine(s.Pid, spec.Process); err != nil {
			fmt.Fprintln(os.Stderr, "standin: examine:", err)
			return err
		}
	}
	if err := runtime("start", id).Run(); err != nil {
		return err
	}
	text, err := os.ReadFile(printed(id))
	if err != nil {
		return nil // it prints nothing that counts
	}
	for deadline := time.Now().Add(5 * time.Second); len(text) == 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		text, _ = os.ReadFile(printed(id))
	}
	os.Remove(printed(id))
	f, err := os.OpenFile(filepath.Join(root(&spec, s.Bundle), "output"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// examine runs runtimetest in the place of the container's process.
func examine(pid int, p *specs.Process) error {
	cmd := exec.Command("/proc/self/exe", slices.Concat([]string{becomeCommand, fmt.Sprint(pid)}, p.Args)...)
	cmd.Env = p.Env
	out, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/1", pid), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	return cmd.Run()
}
