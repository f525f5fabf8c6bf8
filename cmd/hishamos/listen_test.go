package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/config"
)

// keyPair writes a certificate for 127.0.0.1, signed by itself.
func keyPair(t *testing.T, folder string, serial int64) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "EC PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(serial*1000, 0)
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func doorOf(t *testing.T, environ ...string) (*node, error) {
	t.Helper()
	cfg, err := config.Load(append(environ, "HISHAMOS_DATA="+t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	n := &node{ground: &ground{cfg: cfg, logger: slog.New(slog.DiscardHandler)}}
	err = n.open()
	t.Cleanup(func() {
		if err := n.close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return n, err
}

func TestAPortThatOthersReachIsEncryptedOrAskedFor(t *testing.T) {
	t.Parallel()
	certFile, keyFile := keyPair(t, t.TempDir(), 1)
	for name, c := range map[string]struct {
		environ []string
		code    string
		field   string
	}{
		"this machine":        {[]string{"HISHAMOS_LISTEN=127.0.0.1:0"}, "", ""},
		"by name":             {[]string{"HISHAMOS_LISTEN=localhost:0"}, "", ""},
		"everywhere":          {[]string{"HISHAMOS_LISTEN=:0"}, "listen.plaintext", "HISHAMOS_LISTEN"},
		"everywhere by zero":  {[]string{"HISHAMOS_LISTEN=0.0.0.0:0"}, "listen.plaintext", "HISHAMOS_LISTEN"},
		"asked for":           {[]string{"HISHAMOS_LISTEN=0.0.0.0:0", "HISHAMOS_PLAINTEXT=on"}, "", ""},
		"encrypted":           {[]string{"HISHAMOS_LISTEN=0.0.0.0:0", "HISHAMOS_TLS_CERT=" + certFile, "HISHAMOS_TLS_KEY=" + keyFile}, "", ""},
		"no certificate":      {[]string{"HISHAMOS_LISTEN=127.0.0.1:0", "HISHAMOS_TLS_CERT=" + keyFile + "x", "HISHAMOS_TLS_KEY=" + keyFile}, "listen.certificate", "HISHAMOS_TLS_CERT"},
		"not this machine's":  {[]string{"HISHAMOS_LISTEN=192.0.2.1:0", "HISHAMOS_PLAINTEXT=on"}, "listen.refused", "HISHAMOS_LISTEN"},
		"the key of no other": {[]string{"HISHAMOS_LISTEN=127.0.0.1:0", "HISHAMOS_TLS_CERT=" + certFile, "HISHAMOS_TLS_KEY=" + certFile}, "listen.certificate", "HISHAMOS_TLS_CERT"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := doorOf(t, c.environ...)
			e, _ := errors.AsType[*domain.Error](err)
			if c.code == "" && err != nil || c.code != "" && (e == nil || e.Code != c.code || e.Field != c.field || e.Fix == "") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestARenewedCertificateIsShownWithoutARestart(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	certFile, keyFile := keyPair(t, folder, 1)
	n, err := doorOf(t, "HISHAMOS_LISTEN=127.0.0.1:0", "HISHAMOS_TLS_CERT="+certFile, "HISHAMOS_TLS_KEY="+keyFile)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- n.serveHTTP(ctx, n.listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") }))
	}()
	r, err := n.ownClient().Get(n.address())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Body.Close(); err != nil {
		t.Error(err)
	}
	if _, err := http.Get(n.address()); err == nil {
		t.Error("a client of the system's trusts a certificate that nobody signed")
	}
	keyPair(t, folder, 2)
	c, err := tls.Dial("tcp", n.listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != 2 {
		t.Errorf("certificate %d is shown", got)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
