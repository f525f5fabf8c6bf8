package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/config"
)

// open takes the port of the API.
func (n *node) open() error {
	err := n.private()
	if err != nil {
		return err
	}
	if n.listener, err = n.listen("HISHAMOS_LISTEN", n.cfg.Listen); err != nil {
		return err
	}
	if n.cfg.TLS() {
		pair := &certificate{certFile: n.cfg.TLSCert, keyFile: n.cfg.TLSKey}
		if _, err := pair.get(nil); err != nil {
			return err
		}
		n.pair = pair
		n.listener = tls.NewListener(n.listener, &tls.Config{
			MinVersion: tls.VersionTLS12, GetCertificate: pair.get, NextProtos: []string{"h2", "http/1.1"},
		})
	}
	return nil
}

// private refuses a port at which tokens would travel unencrypted from elsewhere,
// unless the operator says otherwise.
func (n *node) private() error {
	if n.cfg.TLS() || bool(n.cfg.Plaintext) || config.Local(n.cfg.Listen) {
		return nil
	}
	return &domain.Error{
		Kind: domain.Invalid, Code: "listen.plaintext", Field: "HISHAMOS_LISTEN",
		Message: n.cfg.Listen + " can be reached from elsewhere, and tokens would travel unencrypted",
		Fix:     "use an address like 127.0.0.1:8080, set HISHAMOS_TLS_CERT and HISHAMOS_TLS_KEY, or set HISHAMOS_PLAINTEXT=on behind a proxy that ends TLS",
	}
}

// listen opens a port until the node closes.
func (n *node) listen(setting, address string) (net.Listener, error) {
	l, err := listen(setting, address)
	if err != nil {
		return nil, err
	}
	n.onClose(func(context.Context) error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil // the server that used it closed it
	})
	return l, nil
}

// listen opens a port, or says who is in the way.
func listen(setting, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, &domain.Error{
			Kind: domain.Unavailable, Code: "listen.in_use",
			Message: "port " + address + " is already taken", Fix: "stop the other program or set " + setting + ", e.g. 127.0.0.1:8081",
		}
	}
	if err != nil {
		return nil, &domain.Error{
			Kind: domain.Invalid, Code: "listen.refused", Field: setting,
			Message: err.Error(), Fix: "use an address of this machine, such as 127.0.0.1:8080",
		}
	}
	return l, nil
}

// address is where clients on this machine reach the API.
func (n *node) address() string {
	scheme := "http://"
	if n.cfg.TLS() {
		scheme = "https://"
	}
	return scheme + n.listener.Addr().String()
}

// ownClient calls the API of this process: of certificates it trusts the one
// that this process shows, whoever signed it.
func (n *node) ownClient() *http.Client {
	if n.pair == nil {
		return nil
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, // VerifyConnection compares the certificate itself
		VerifyConnection: func(c tls.ConnectionState) error {
			own, err := n.pair.get(nil)
			if err == nil && !bytes.Equal(own.Certificate[0], c.PeerCertificates[0].Raw) {
				err = errors.New("the certificate is not that of this process")
			}
			return err
		},
	}}}
}

// certificate is a pair of files that is read again when it changes, so that a
// renewed certificate needs no restart.
type certificate struct {
	certFile, keyFile string

	mu      sync.Mutex
	changed time.Time
	pair    *tls.Certificate
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed, err := newest(c.certFile, c.keyFile)
	if err == nil && c.pair != nil && changed.Equal(c.changed) {
		return c.pair, nil
	}
	if err == nil {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(c.certFile, c.keyFile); err == nil {
			c.pair, c.changed = &pair, changed
			return c.pair, nil
		}
	}
	if c.pair != nil { // half replaced: the next connection looks again
		return c.pair, nil
	}
	return nil, &domain.Error{
		Kind: domain.Invalid, Code: "listen.certificate", Field: "HISHAMOS_TLS_CERT",
		Message: "the certificate cannot be used: " + err.Error(), Fix: "name a PEM certificate chain and its key, readable by this user",
	}
}

func newest(files ...string) (time.Time, error) {
	var last time.Time
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return last, err
		}
		if info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last, nil
}

// serveAPI serves HTTP until the context ends, then lets requests finish.
func (n *node) serveAPI(ctx context.Context, l net.Listener) error {
	handler, err := n.api(ctx)
	if err != nil {
		return err
	}
	return n.serveHTTP(ctx, l, handler)
}

func (n *node) serveHTTP(ctx context.Context, l net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.cfg.ShutdownGrace/2)
		defer cancel()
		stopped <- server.Shutdown(grace)
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return <-stopped
}
