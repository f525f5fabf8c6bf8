package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/config"
)

func TestTheClientFileKeepsTheTokenForItsOwnerOnly(t *testing.T) {
	t.Parallel()
	path, err := config.ClientPath([]string{"XDG_CONFIG_HOME=" + t.TempDir(), "HOME=/nowhere"})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(path, "/hishamos/client.json") {
		t.Errorf("the path is %s", path)
	}
	if _, err := config.LoadClient(path); !errors.Is(err, config.ErrNoClient) || !strings.Contains(err.Error(), path) {
		t.Fatalf("a missing file: got %v", err)
	}
	for _, token := range []string{"first", "second"} { // the second overwrites
		want := config.Client{URL: "http://127.0.0.1:8080", Token: config.NewSecret(token)}
		if err := config.SaveClient(path, want); err != nil {
			t.Fatal(err)
		}
		if got, err := config.LoadClient(path); err != nil || got != want {
			t.Fatalf("got %q %v", got.Token.Reveal(), err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the mode is %v %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("files are left over: %v %v", entries, err)
	}
}

func TestAClientFileThatOthersMayReadIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "client.json")
	if err := config.SaveClient(path, config.Client{Token: config.NewSecret("x")}); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := config.LoadClient(path); domain.KindOf(err) != domain.Forbidden || !strings.Contains(err.Error(), "chmod 600 "+path) {
		t.Errorf("got %v", err)
	}
}

func TestADamagedClientFileSaysWhatToDo(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "client.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.LoadClient(path); domain.KindOf(err) != domain.Invalid || !strings.Contains(err.Error(), "sign in again") {
		t.Errorf("got %v", err)
	}
}

func TestTheEnvironmentGoesBeforeTheClientFile(t *testing.T) {
	t.Parallel()
	file := config.Client{URL: "http://file", Token: config.NewSecret("file")}
	for _, tt := range []struct {
		environ []string
		file    config.Client
		want    config.Client
	}{
		{minimal(), file, file},
		{minimal(), config.Client{}, config.Client{URL: "http://127.0.0.1:8080"}},
		{minimal("HISHAMOS_URL=http://env/", "HISHAMOS_TOKEN=env"), file, config.Client{URL: "http://env", Token: config.NewSecret("env")}},
	} {
		c, err := config.Load(tt.environ)
		if got := c.Client(tt.file); err != nil || got != tt.want {
			t.Errorf("%v: got %q with %q, %v", tt.environ, got.URL, got.Token.Reveal(), err)
		}
	}
}
