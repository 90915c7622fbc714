// Command network is the far end of measurements of networks:
//
//	port 80     answers a line with that line and ends the connection
//	port 81     takes what comes, and answers with how many bytes that was
//	port 82     sends as many bytes as the line says that it is asked with
//	port 83     takes as many bytes as the line says and sends twice as many at once
//	port 7/udp  returns each datagram
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
)

// size of reads and writes in bytes.
const size = 256 << 10

func main() {
	echo, err := net.ListenPacket("udp", ":7")
	check(err)
	for port, serve := range map[string]func(net.Conn){":80": line, ":81": sink, ":82": source, ":83": both} {
		l, err := net.Listen("tcp", port)
		check(err)
		go func() {
			for {
				c, err := l.Accept()
				check(err)
				go func() {
					defer c.Close()
					serve(c)
				}()
			}
		}()
	}
	fmt.Println("network: ready")
	b := make([]byte, 1<<16)
	for {
		n, from, err := echo.ReadFrom(b)
		check(err)
		echo.WriteTo(b[:n], from)
	}
}

func check(err error) {
	if err != nil {
		fmt.Println("network:", err)
		os.Exit(1)
	}
}

func line(c net.Conn) {
	s, err := bufio.NewReader(c).ReadString('\n')
	if err == nil {
		io.WriteString(c, s)
	}
}

func sink(c net.Conn) {
	b := make([]byte, size)
	total := 0
	for {
		n, err := c.Read(b)
		total += n
		if err != nil {
			break
		}
	}
	fmt.Fprintln(c, total)
}

func source(c net.Conn) {
	if left, err := number(bufio.NewReader(c)); err == nil {
		send(c, left)
	}
}

func both(c net.Conn) {
	r := bufio.NewReader(c)
	n, err := number(r)
	if err != nil {
		return
	}
	sent := make(chan bool)
	go func() {
		send(c, 2*n)
		close(sent)
	}()
	io.CopyN(io.Discard, r, int64(n))
	<-sent
}

// number reads a line with a number.
func number(r *bufio.Reader) (int, error) {
	s, err := r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(s))
}

func send(c net.Conn, left int) {
	for b := make([]byte, size); left > 0; {
		n, err := c.Write(b[:min(left, len(b))])
		if err != nil {
			return
		}
		left -= n
	}
}
