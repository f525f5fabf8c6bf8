package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/hishamos/hishamos/internal/config"
)

func TestASecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	c := config.Config{Token: config.NewSecret("hunter2"), DatabaseURL: config.NewSecret("postgres://u:hunter2@h/d")}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb, c.Token)
		fmt.Fprintf(&out, verb, &c.Token)
		fmt.Fprintf(&out, verb, c)
		fmt.Fprintf(&out, verb, []config.Secret{c.Token})
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "token", c.Token, "config", c)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "token", c.Token, "config", c)
	if err := json.NewEncoder(&out).Encode(map[string]any{"c": c, "t": &c.Token}); err != nil {
		t.Fatal(err)
	}
	for _, leak := range []string{"hunter2", fmt.Sprintf("%x", "hunter2"), fmt.Sprintf("%d", []byte("hunter2"))} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("the secret shows as %s", leak)
		}
	}
	if !strings.Contains(out.String(), "[secret]") || c.Token.Reveal() != "hunter2" {
		t.Error("a secret must print as [secret] and still be there")
	}
}

func TestASizeReadsBackWhatItPrints(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]config.Bytes{
		"0B": 0, "1KB": 1000, "1kib": 1024, "256MB": 256e6, "1.5 GB": 15e8, "2TiB": 2 << 40, "7B": 7,
	} {
		var b, again config.Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || b != want {
			t.Errorf("%s: got %d %v, want %d", text, b, err, want)
		}
		if err := again.UnmarshalText([]byte(b.String())); err != nil || again != b {
			t.Errorf("%s prints as %s, which reads as %d %v", text, b, again, err)
		}
	}
}

func TestAPrefixOfTopicsHasOnlyWhatTopicsMayHave(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{"team-a.": true, "": true, "a b": false, "a/b": false, "é": false, strings.Repeat("x", 101): false} {
		var p config.TopicPrefix
		if err := p.UnmarshalText([]byte(text)); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}
