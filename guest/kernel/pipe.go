package kernel

// maxPipes bounds the open pipes, pipeSize what each holds, in bytes.
const (
	maxPipes = 32
	pipeSize = 64 << 10
)

type pipe struct {
	buf              uintptr // its memory, 0 while the pipe is unused
	start, n         uintptr // what is in it
	readers, writers int32
}

var pipes [maxPipes]pipe

func pipe2(to uintptr, flags uint64) int64 {
	i := 0
	for i < maxPipes && pipes[i].buf != 0 {
		i++
	}
	if i == maxPipes {
		return errMFILE
	}
	nonblock := flags&openNonblk != 0
	r := newFile(file{kind: pipeReader, handle: uint64(i)}, openFile{nonblock: nonblock})
	if r < 0 {
		return r
	}
	w := newFile(file{kind: pipeWriter, handle: uint64(i)}, openFile{access: openWrite, nonblock: nonblock})
	if w < 0 {
		release(uint64(r))
		return w
	}
	buf := mmap(0, pipeSize, 3, mapAnonymous)
	if buf < 0 {
		release(uint64(r))
		release(uint64(w))
		return buf
	}
	pipes[i] = pipe{buf: uintptr(buf), readers: 1, writers: 1}
	store32(to, uint32(r))
	store32(to+4, uint32(w))
	return 0
}

func closePipe(f *file) {
	p := &pipes[f.handle]
	if f.kind == pipeReader {
		p.readers--
	} else {
		p.writers--
	}
	changed = true
	if p.readers+p.writers == 0 {
		munmap(p.buf, pipeSize)
		*p = pipe{}
	}
}

func readPipe(f *file, to, n uintptr) int64 {
	p := &pipes[f.handle]
	if p.n == 0 {
		if p.writers == 0 {
			return 0
		}
		return errAGAIN
	}
	n = min(n, p.n)
	first := min(n, pipeSize-p.start)
	move(to, p.buf+p.start, first)
	move(to+first, p.buf, n-first)
	p.start = (p.start + n) % pipeSize
	p.n -= n
	changed = true
	return int64(n)
}

func writePipe(f *file, from, n uintptr) int64 {
	p := &pipes[f.handle]
	if p.readers == 0 {
		return errPIPE
	}
	const atomic = 4096 // PIPE_BUF: so many bytes are written whole or not at all
	room := pipeSize - p.n
	if n == 0 {
		return 0
	}
	if room == 0 || n <= atomic && room < n {
		return errAGAIN
	}
	n = min(n, room)
	end := (p.start + p.n) % pipeSize
	first := min(n, pipeSize-end)
	move(p.buf+end, from, first)
	move(p.buf, from+first, n-first)
	p.n += n
	changed = true
	return int64(n)
}
