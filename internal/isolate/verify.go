package isolate

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"gocat/internal/plan"
	"gocat/internal/raw"
)

// Where a layer is reported or required, the results of its calls are not trusted:
// an inherited filter may answer them with success. Such a filter cannot write to
// memory, nor does it know what was called before, so what is read back has to be
// in memory that held something else, or the same call has to fail where the
// kernel fails it.

// check adds a call that reads back what the steps of the current layer did. It is
// a step of the layer: with another result the layer is not in effect.
func (i *Setup) check(mask, want uint64, nr uint64, args ...any) {
	if i.verify {
		i.step(mask, want, nr, args...)
	}
}

// result stands for the argument of checkWords's call that is the address of what
// the call writes.
const result = plan.Ref(1<<64 - 1)

// checkWords adds a call that writes words, which must be the wanted ones.
func (i *Setup) checkWords(want []uint64, nr uint64, args ...any) {
	if !i.verify {
		return
	}
	at := i.other(want)
	for n, a := range args {
		if a == result {
			args[n] = at
		}
	}
	i.check(plan.Exact, 0, nr, args...)
	for n, w := range want {
		i.checkWord(at+plan.Ref(8*n), plan.Exact, w)
	}
}

// other stores words that are not the given ones in any bit.
func (i *Setup) other(w []uint64) plan.Ref {
	not := raw.Slice[uint64](len(w), len(w))
	for n := range w {
		not[n] = ^w[n]
	}
	return i.Store(plan.Words(not...))
}

// checkWord adds a comparison of the bits in mask of a word in memory.
func (i *Setup) checkWord(at plan.Ref, mask, want uint64) {
	i.check(plan.Exact, 0, plan.Differ, at, plan.Words(want), mask)
}

// checkIDs adds getresuid or getresgid, of which all three must be id.
func (i *Setup) checkIDs(nr uint64, id uint32) {
	if !i.verify {
		return
	}
	both := uint64(id)<<32 | uint64(id)
	at := i.other([]uint64{both, both})
	i.check(plan.Exact, 0, nr, at, at+4, at+8)
	i.checkWord(at, plan.Exact, both)
	i.checkWord(at+8, 1<<32-1, uint64(id))
}

// checkDirectory adds getcwd, whose result must begin with at most 8 bytes.
func (i *Setup) checkDirectory(prefix string) {
	if !i.verify {
		return
	}
	var word, mask [8]byte
	for n := range copy(word[:], prefix) {
		mask[n] = 0xff
	}
	at := i.Store(make([]byte, unix.PathMax))
	i.check(plan.Failed, 0, unix.SYS_GETCWD, at, unix.PathMax)
	i.checkWord(at, binary.LittleEndian.Uint64(mask[:]), binary.LittleEndian.Uint64(word[:]))
}

// namespace enters a new namespace, which has another inode in /proc.
func (i *Setup) namespace(l Layer) {
	flag := CloneFlag(l)
	if !i.verify {
		i.step(plan.Exact, 0, unix.SYS_UNSHARE, flag)
		return
	}
	const size, inode = 144, 8 // of struct stat, and the offset of st_ino
	path := raw.CString("/proc/self/ns/" + NamespaceFile(l))
	before, after := i.Store(make([]byte, size)), i.Store(make([]byte, size))
	i.Try(unix.SYS_NEWFSTATAT, unix.AT_FDCWD, path, before, 0)
	i.step(plan.Exact, 0, unix.SYS_UNSHARE, flag)
	i.check(plan.Exact, 0, unix.SYS_NEWFSTATAT, unix.AT_FDCWD, path, after, 0)
	i.check(plan.Exact, 1, plan.Differ, before+inode, after+inode, plan.Exact)
}
