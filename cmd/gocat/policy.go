package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/tender"
	"gocat/internal/usernet"
	"gocat/seccomp"
)

func policyCommand() *cobra.Command {
	format := "text"
	cmd := &cobra.Command{
		Use:   "policy [OPTION ...] [--] [KERNEL [ARG ...]]",
		Short: "Explain what a unikernel or its tender may do",
		Long: `Explain in words which system calls the unikernel KERNEL may make with the devices
given, and why; everything else kills it. An hvt unikernel makes none: then it is
the tender's calls that are explained. Without KERNEL, explain the bundled
cat. Interfaces and descriptors need not exist, block devices must: their size
is part of the policy. Descriptor numbers are those of a sealed guest; gocat run
may use others for interfaces and block devices.

Formats: text, json, bpf (the filter as text, as tcpdump -d has it) and raw (the
filter as the kernel takes it, an array of struct sock_filter).`,
		Example: `  gocat policy
  gocat policy --profile=strict --net service=tap100 web.spt
  gocat policy --format=json | jq '.rules[].call'
  gocat policy --trace --backend=hvt
  gocat policy --format=bpf --block storage=disk.img fs.spt`,
	}
	own := []tender.Option{
		{Name: "trace", Help: "hvt: with what gocat trace adds", Set: func(o *tender.Options, _ string) error {
			o.Trace = 1009 // stands for the pipe that gocat trace makes
			return nil
		}},
		option("format", 0, "text|json|bpf|raw", "what to print (default text)", &format),
	}
	return withGuest(cmd, own, func(inv *tender.Invocation) error {
		switch format {
		case "text", "json", "bpf", "raw":
		default:
			return fmt.Errorf("--format: %q: want text, json, bpf or raw", format)
		}
		g, err := inv.Load()
		if err != nil {
			return err
		}
		defer g.Close()
		p, devices, err := g.Policy()
		if err != nil {
			return err
		}
		filter, err := p.Assemble()
		if err != nil {
			return err
		}
		switch format {
		case "json":
			return printJSON(describePolicy(p, devices))
		case "bpf":
			return results(func(w io.Writer) error {
				_, err := io.WriteString(w, seccomp.Disassemble(filter))
				return err
			})
		case "raw":
			return raw(func(w io.Writer) error { return writeFilter(w, filter) })
		}
		return results(func(w io.Writer) error {
			out := printer{w: w}
			out.printf("%s is an %v guest with %d MB of memory.\n", g.Name, g.Image.Target, g.Memory>>20)
			out.printDevices(devices)
			if g.Image.Target == image.HVT {
				out.printf("It makes no system calls. What follows is left to its tender; descriptor numbers from 1000\n" +
					"up stand for descriptors that the tender opens.\n")
			}
			if out.err != nil {
				return out.err
			}
			if err := p.Explain(w); err != nil {
				return err
			}
			return out.printUserNetworks(devices)
		})
	})
}

// printDevices prints a line for each of the guest's devices: what it is
// connected to.
func (p *printer) printDevices(devices []device.Device) {
	for _, d := range devices {
		switch {
		case d.Type == image.Block:
			p.printf("Block device %s is %s: %d bytes in blocks of %d.\n", d.Name, d.Path, d.Capacity, d.BlockSize)
		case d.Inherited:
			p.printf("Network device %s is the inherited descriptor %d.\n", d.Name, d.FD)
		case d.User != nil:
			p.printf("Network device %s is a user network, served by another process: --net %s=%s.\n", d.Name, d.Name, d.User.Spec)
		default:
			p.printf("Network device %s is the tap %s.\n", d.Name, d.Path)
		}
	}
}

// printUserNetworks says what the processes that serve user networks may do.
func (p *printer) printUserNetworks(devices []device.Device) error {
	for _, d := range devices {
		if d.User == nil {
			continue
		}
		c, err := usernet.Parse(d.User.Spec)
		if err != nil {
			return err
		}
		p.printf("\nThe process of network device %s, gocat-net, opens no file and has no capabilities. It may\n"+
			"make these system calls, with any arguments; any other kills it:\n  %s\n", d.Name, strings.Join(c.Calls(), " "))
		p.printf("Guests may connect to: %v.\n", c.Outbound)
		for _, s := range d.User.Publish {
			p.printf("Published: %s.\n", s)
		}
	}
	return p.err
}

// policyDescription is a policy as JSON.
type policyDescription struct {
	Policy  string              `json:"policy"`
	Deny    seccomp.Action      `json:"deny"`
	Devices []deviceDescription `json:"devices"`
	Rules   []ruleDescription   `json:"rules"`
}

type deviceDescription struct {
	Name      string `json:"name"`
	Type      string `json:"type"`
	Inherited *int   `json:"inherited,omitempty"` // descriptor
	User      string `json:"user,omitempty"`      // options of a user network
	Path      string `json:"path,omitempty"`      // else
	Capacity  uint64 `json:"capacity,omitempty"`
	BlockSize uint16 `json:"block_size,omitempty"`
}

type ruleDescription struct {
	Call string `json:"call"`
	seccomp.Rule
}

func describePolicy(p *seccomp.Policy, devices []device.Device) policyDescription {
	d := policyDescription{Policy: p.Name, Deny: p.Deny, Devices: []deviceDescription{}}
	for _, dev := range devices {
		one := deviceDescription{Name: dev.Name, Type: dev.Type.String(), Path: dev.Path, Capacity: dev.Capacity, BlockSize: dev.BlockSize}
		if dev.User != nil {
			one.User = dev.User.Spec
		}
		if dev.Inherited {
			one.Inherited = &dev.FD
		}
		d.Devices = append(d.Devices, one)
	}
	for _, r := range p.Rules {
		d.Rules = append(d.Rules, ruleDescription{seccomp.SyscallName(r.Nr), r})
	}
	return d
}

// writeFilter writes a filter as the kernel takes it: struct sock_filter is
// code u16, jt u8, jf u8, k u32, in the byte order of x86.
func writeFilter(w io.Writer, filter []unix.SockFilter) error {
	var b []byte
	for _, f := range filter {
		b = binary.LittleEndian.AppendUint16(b, f.Code)
		b = append(b, f.Jt, f.Jf)
		b = binary.LittleEndian.AppendUint32(b, f.K)
	}
	_, err := w.Write(b)
	return err
}
