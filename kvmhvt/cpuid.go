package kvmhvt

import (
	"fmt"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
	"gocat/internal/x86"
)

// maxCPUID is the most leaves KVM is asked for; hosts have 30 to 60.
const maxCPUID = 256

// cpuidEntry is struct kvm_cpuid_entry2.
type cpuidEntry struct {
	function, index uint32
	//lint:ignore U1000 KVM's: says whether index counts
	flags              uint32
	eax, ebx, ecx, edx uint32
	_                  [3]uint32
}

// cpuid is struct kvm_cpuid2.
type cpuid struct {
	n, _    uint32
	entries [maxCPUID]cpuidEntry
}

// supportedCPUID is what the host's KVM supports, cut down by maskCPUID. kvm is
// /dev/kvm.
func supportedCPUID(kvm int) (*cpuid, error) {
	c := raw.New[cpuid]()
	c.n = maxCPUID
	if errno := ioctlPtr(kvm, kvmGetSupportedCPUID, c); errno != 0 {
		return nil, &Error{"get supported CPUID", errno, ""}
	}
	if c.n > maxCPUID {
		return nil, &Error{"get supported CPUID", fmt.Errorf("%d leaves: %w", c.n, unix.E2BIG), ""}
	}
	c.n = uint32(len(maskCPUID(c.entries[:c.n])))
	return c, nil
}

// features returns the bits of x86.Groups in c.
func (c *cpuid) features() (f [len(x86.Groups)]uint64) {
	for i := range c.entries[:c.n] {
		for j := range x86.Groups {
			if e := &c.entries[i]; e.function == x86.Groups[j].Leaf && e.index == 0 {
				f[j] = uint64(e.ebx) | uint64(e.ecx)<<32
			}
		}
	}
	return f
}

func (m *machine) setCPUID(c *cpuid) error {
	if errno := ioctlPtr(m.vcpu, kvmSetCPUID2, c); errno != 0 {
		return &Error{"set CPUID", errno, ""}
	}
	return nil
}

// enforceParavirtual takes the registers and hypercalls of KVM's own from the
// guest, of which maskCPUID leaves none: at privilege level 0 it could have KVM
// write the time and more to its memory. Before setCPUID; kernels that do not
// know it go without.
func (m *machine) enforceParavirtual() error {
	c := raw.New[enableCap]()
	c.capability, c.args[0] = kvmCapEnforcePV, 1
	switch errno := ioctlPtr(m.vcpu, kvmEnableCap, c); errno {
	case 0, unix.EINVAL, unix.ENOTTY:
		return nil
	default:
		return &Error{"enforce the features of KVM's own", errno, ""}
	}
}

// Bits of CPUID's answers (Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E).
const (
	leaf1ECXMonitor  = 1 << 3
	leaf1ECXVMX      = 1 << 5
	leaf1ECXSMX      = 1 << 6
	leaf1ECXPDCM     = 1 << 15
	leaf1ECXx2APIC   = 1 << 21
	leaf1ECXDeadline = 1 << 24
	leaf1EDXAPIC     = 1 << 9
	leaf1EDXMTRR     = 1 << 12
	leaf1EDXMCE      = 1<<7 | 1<<14
	leaf7EBXSGX      = 1 << 2
	leaf7ECXSGXLC    = 1 << 30
	ext1ECXSVM       = 1 << 2
	ext1ECXPerf      = 1<<10 | 1<<22 | 1<<23 | 1<<24 | 1<<28 // IBS and performance counters
	ext7EDXInvariant = 1 << 8
)

// maskCPUID keeps, in place, the leaves that tell a guest what instructions it
// may use, and takes out of them what only a kernel of a whole machine could
// use or what tells one host from another: virtualisation, enclaves, APIC
// identity and topology, caches, serial and brand strings, counters. What is
// left does not change from one run to the next on a host.
func maskCPUID(entries []cpuidEntry) []cpuidEntry {
	kept := entries[:0]
	for _, e := range entries {
		switch e.function {
		case 0:
			e.eax = min(e.eax, 0xd)
		case 1:
			e.ebx &= 0xff00 // the cache line size; no processor number
			e.ecx &^= leaf1ECXMonitor | leaf1ECXVMX | leaf1ECXSMX | leaf1ECXPDCM | leaf1ECXx2APIC | leaf1ECXDeadline
			e.edx &^= leaf1EDXAPIC | leaf1EDXMTRR | leaf1EDXMCE
		case 7:
			if e.index != 0 {
				break
			}
			e.ebx &^= leaf7EBXSGX
			e.ecx &^= leaf7ECXSGXLC
		case 0xd: // sizes of the extended states
		case 0x40000000: // hypervisor: the signature, and no leaf of paravirtual features
			e.eax = 0x40000000
		case 0x80000000:
			e.eax = min(e.eax, 0x80000008)
		case 0x80000001:
			e.ebx = 0
			e.ecx &^= ext1ECXSVM | ext1ECXPerf
			e.edx &^= leaf1EDXAPIC | leaf1EDXMTRR | leaf1EDXMCE
		case 0x80000007:
			e.eax, e.ebx, e.ecx = 0, 0, 0
			e.edx &= ext7EDXInvariant
		case 0x80000008:
			e.ecx = 0
		default:
			continue
		}
		kept = append(kept, e)
	}
	return kept
}
