package container

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"gocat/internal/oci/bundle"
	"gocat/internal/oci/state"
	"gocat/internal/oci/wire"
)

// Annotations with the words by which a guest is told its address, of its first
// network device or, with a dot and its name appended, of another. An empty one
// says that the guest must not be told.
const (
	annotationIPv4    = "gocat.ipv4"
	annotationGateway = "gocat.ipv4-gateway"
)

// The words of MirageOS and of programs of gocat build.
const (
	wordIPv4    = "--ipv4"
	wordGateway = "--ipv4-gateway"
)

// validWord reports whether a word is the name of an option.
func validWord(word string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"
	return len(word) > 1 && len(word) < 64 && word[0] == '-' && strings.Trim(word, letters) == ""
}

// networkIsLate reports whether the engine makes the container's interfaces when create
// has ended. podman does so with user namespaces, so that the network namespace, which
// is made with it, is the user namespace's.
func networkIsLate(s *specs.Spec) bool {
	return slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
		return n.Type == specs.NetworkNamespace && n.Path == ""
	}) && bundle.Has(s, specs.UserNamespace)
}

// network gives the guest's network devices the container's interfaces, with a tap
// for each: those of the same name, and the others in order.
func network(c *state.Container, pid int, asked *state.Wants) (answer *message, taps []*os.File, err error) {
	answer = &message{}
	if len(asked.Nets) == 0 {
		return answer, nil, nil
	}
	if sameFile(namespacePath(pid, "net"), "/proc/thread-self/ns/net") {
		return nil, nil, fmt.Errorf("the guest's network device '%s' takes an interface over, and the container's network is the host's: give it one of its own", asked.Nets[0])
	}
	err = wire.Namespace(namespacePath(pid, "net"), func() error {
		all, err := wire.Interfaces()
		if err != nil {
			return err
		}
		chosen, err := match(asked.Nets, all, asked.First)
		if err != nil {
			return err
		}
		for i, name := range asked.Nets {
			at := chosen[i]
			tap, err := at.Take()
			if err != nil {
				return err
			}
			taps = append(taps, tap)
			answer.Links = append(answer.Links, link{Device: name, MAC: at.MAC.String(), MTU: at.MTU})
			words, err := words(c.Annotations, asked, i, at)
			if err != nil {
				return err
			}
			answer.Args = append(answer.Args, words...)
		}
		return nil
	})
	if err != nil {
		for _, t := range taps {
			t.Close()
		}
		return nil, nil, err
	}
	return answer, taps, nil
}

// match pairs devices with interfaces. The device called first has the first.
func match(devices []string, all []wire.Interface, first string) ([]*wire.Interface, error) {
	chosen := make([]*wire.Interface, len(devices))
	used := make([]bool, len(all))
	take := func(device, i int) { chosen[device], used[i] = &all[i], true }
	if d := slices.Index(devices, first); d >= 0 && len(all) > 0 {
		take(d, 0)
	}
	for d, name := range devices {
		if i := slices.IndexFunc(all, func(i wire.Interface) bool { return i.Name == name }); i >= 0 && !used[i] && chosen[d] == nil {
			take(d, i)
		}
	}
	for d, name := range devices {
		if chosen[d] != nil {
			continue
		}
		i := slices.Index(used, false)
		if i < 0 {
			return nil, fmt.Errorf("the guest's network device '%s' has no interface: the container has %d, beside lo, for %d devices", name, len(all), len(devices))
		}
		take(d, i)
	}
	return chosen, nil
}

// words tell the guest the address of a device, unless its arguments do.
func words(annotations map[string]string, asked *state.Wants, device int, at *wire.Interface) (all []string, err error) {
	ipv4, gateway := "", ""
	if device == 0 {
		ipv4, gateway = wordIPv4, wordGateway
	}
	for _, key := range []struct {
		name string
		word *string
	}{{annotationIPv4, &ipv4}, {annotationGateway, &gateway}} {
		if word, ok := annotations[key.name]; ok && device == 0 {
			*key.word = word
		}
		if word, ok := annotations[key.name+"."+asked.Nets[device]]; ok {
			*key.word = word
		}
		if *key.word != "" && !validWord(*key.word) {
			return nil, fmt.Errorf("annotation %s is %.60q: want an option's name, such as --ipv4", key.name, *key.word)
		}
	}
	add := func(word, value string) {
		said := func(a string) bool { return a == word || strings.HasPrefix(a, word+"=") }
		if word != "" && value != "" && !slices.ContainsFunc(asked.Args, said) {
			all = append(all, word+"="+value)
		}
	}
	if len(at.IPv4) > 0 {
		add(ipv4, at.IPv4[0])
		add(gateway, at.Gateway)
	}
	if !asked.Go || device != 0 {
		return all, nil
	}
	if len(at.IPv6) > 0 {
		add("--ipv6", at.IPv6[0])
		add("--ipv6-gateway", at.Router6)
	}
	for _, server := range nameservers(asked.Resolv) {
		add("--nameserver", server)
	}
	return all, nil
}

// resolvConf is the file that the engine mounts at /etc/resolv.conf, or "".
func resolvConf(s *specs.Spec) string {
	for i := range s.Mounts {
		if m := &s.Mounts[i]; m.Destination == "/etc/resolv.conf" && bundle.IsBind(m) {
			return m.Source
		}
	}
	return ""
}

// nameservers are those of a resolv.conf, if there is one. At most three count, as for
// the resolver of the C library.
func nameservers(path string) (all []string) {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() && len(all) < 3 {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil && a.Zone() == "" {
			all = append(all, a.String())
		}
	}
	return all
}
