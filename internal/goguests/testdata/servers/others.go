package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"golang.org/x/crypto/ssh"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func startDNS() (func() (func(i int) error, error), error) {
	at := asking
	if at == "" {
		p, err := net.ListenPacket("udp", local())
		if err != nil {
			return nil, err
		}
		at = p.LocalAddr().String()
		go serveDNS(p)
	}
	return func() (func(int) error, error) {
		c := dns.Client{Timeout: time.Minute}
		conn, err := c.Dial(at)
		return func(i int) error {
			m := new(dns.Msg)
			name := fmt.Sprintf("n%d.example.", i)
			m.SetQuestion(name, dns.TypeTXT)
			r, _, err := c.ExchangeWithConn(m, conn)
			if err != nil {
				return err
			}
			if len(r.Answer) != 1 {
				return errors.New("no answer")
			}
			return same(r.Answer[0].(*dns.TXT).Txt[0], name)
		}, err
	}, nil
}

func serveDNS(p net.PacketConn) {
	dns.ActivateAndServe(nil, p, dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(r)
		m.Answer = append(m.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: r.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{r.Question[0].Name}})
		w.WriteMsg(m)
	}))
}

func startGRPC() (func() (func(i int) error, error), error) {
	l := listen()
	s := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	go s.Serve(l)
	return func() (func(int) error, error) {
		conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, err
		}
		c := grpc_health_v1.NewHealthClient(conn)
		return func(int) error {
			r, err := c.Check(context.Background(), &grpc_health_v1.HealthCheckRequest{})
			if err != nil {
				return err
			}
			return same(r.Status.String(), "SERVING")
		}, nil
	}, nil
}

func startNATS() (func() (func(i int) error, error), error) {
	if asking != "" {
		return natsClient("nats://" + asking), nil
	}
	options := &natsserver.Options{Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoLog: true, NoSigs: true}
	if serving != "" {
		at, err := netip.ParseAddrPort(serving)
		if err != nil {
			return nil, err
		}
		options.Host, options.Port = at.Addr().String(), int(at.Port())
	}
	s, err := natsserver.NewServer(options)
	if err != nil {
		return nil, err
	}
	go s.Start()
	if !s.ReadyForConnections(time.Minute) {
		return nil, errors.New("not ready")
	}
	service, err := nats.Connect(s.ClientURL())
	if err != nil {
		return nil, err
	}
	if _, err := service.Subscribe("echo", func(m *nats.Msg) { m.Respond(m.Data) }); err != nil {
		return nil, err
	}
	service.Flush()
	return natsClient(s.ClientURL()), nil
}

func natsClient(url string) func() (func(int) error, error) {
	return func() (func(int) error, error) {
		c, err := nats.Connect(url)
		return func(i int) error {
			want := fmt.Sprint("message ", i)
			m, err := c.Request("echo", []byte(want), time.Minute)
			if err != nil {
				return err
			}
			return same(string(m.Data), want)
		}, err
	}
}

// startSSH serves a channel that echoes.
func startSSH() (func() (func(i int) error, error), error) {
	key := make([]byte, ed25519.SeedSize) // the same in the process of the clients
	signer, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(key))
	if err != nil {
		return nil, err
	}
	config := &ssh.ServerConfig{PasswordCallback: func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
		if string(password) != "secret" {
			return nil, errors.New("wrong password")
		}
		return nil, nil
	}}
	config.AddHostKey(signer)
	l := listen()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, channels, requests, err := ssh.NewServerConn(c, config)
				if err != nil {
					return
				}
				go ssh.DiscardRequests(requests)
				for n := range channels {
					ch, requests, err := n.Accept()
					if err != nil {
						return
					}
					go ssh.DiscardRequests(requests)
					go io.Copy(ch, ch)
				}
			}()
		}
	}()
	return func() (func(int) error, error) {
		c, err := ssh.Dial("tcp", l.Addr().String(), &ssh.ClientConfig{User: "user", Auth: []ssh.AuthMethod{ssh.Password("secret")},
			HostKeyCallback: ssh.FixedHostKey(signer.PublicKey())})
		if err != nil {
			return nil, err
		}
		ch, requests, err := c.OpenChannel("echo", nil)
		if err != nil {
			return nil, err
		}
		go ssh.DiscardRequests(requests)
		return func(i int) error {
			want := fmt.Sprintf("line %9d", i)
			if _, err := io.WriteString(ch, want); err != nil {
				return err
			}
			b := make([]byte, len(want))
			if _, err := io.ReadFull(ch, b); err != nil {
				return err
			}
			return same(string(b), want)
		}, nil
	}, nil
}
