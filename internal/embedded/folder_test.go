package embedded_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/embedded"
)

func TestADataFolderHasOneHolder(t *testing.T) {
	t.Parallel()
	path := filepath.Join(folder(t), "new", "data")
	first, err := embedded.OpenFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = embedded.OpenFolder(path)
	e, ok := errors.AsType[*domain.Error](err)
	if !ok || e.Code != "data.locked" || !strings.Contains(e.Message, first.Path()) ||
		!strings.Contains(e.Message, "process "+strconv.Itoa(os.Getpid())) || !strings.Contains(e.Fix, "HISHAMOS_DATA") {
		t.Errorf("got %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := embedded.OpenFolder(path)
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}

func TestOnlyTheOwnerReadsTheDataFolder(t *testing.T) {
	t.Parallel()
	f, err := embedded.OpenFolder(filepath.Join(folder(t), "data"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sub, err := f.Sub("keys")
	if err != nil || sub != filepath.Join(f.Path(), "keys") {
		t.Fatalf("got %q %v", sub, err)
	}
	if again, err := f.Sub("keys"); err != nil || again != sub {
		t.Errorf("the second time: %q %v", again, err)
	}
	want := map[string]os.FileMode{f.Path(): 0o700, sub: 0o700, filepath.Join(f.Path(), "lock"): 0o600}
	if os.Geteuid() == 0 {
		want[f.Path()] = 0o711 // Postgres, another user, passes through
	}
	for path, mode := range want {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v %v, want %v", path, info.Mode(), err, mode)
		}
	}
	for _, name := range []string{"", "..", "a/b", "/etc"} {
		if got, err := f.Sub(name); err == nil {
			t.Errorf("Sub(%q) is %s", name, got)
		}
	}
}

func TestAFolderThatCannotBeUsedSaysWhy(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	for path, code := range map[string]string{"": "request.invalid_field", filepath.Join(file, "data"): "data.unusable", open: "data.unsafe"} {
		if _, err := embedded.OpenFolder(path); !errors.Is(err, &domain.Error{Code: code}) {
			t.Errorf("%q: got %v, want %s", path, err, code)
		}
	}
}

func TestTheFirstFolderThatPostgresMayNotEnterIsNamed(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("Postgres runs as another user only when the program is root")
	}
	closed := filepath.Join(folder(t), "closed")
	dir := filepath.Join(closed, "inner", "postgres")
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := embedded.StartPostgres(t.Context(), embedded.PostgresOptions{Dir: dir})
	e, ok := errors.AsType[*domain.Error](err)
	if !ok || e.Code != "data.not_traversable" || !strings.Contains(e.Message, "the folder "+closed+" on") ||
		!strings.Contains(e.Fix, "chmod o+x "+closed+",") || !strings.Contains(e.Fix, "HISHAMOS_DATA") {
		t.Fatalf("got %v", err)
	}
	if err := os.Chmod(closed, 0o711); err != nil {
		t.Fatal(err)
	}
	start(t, embedded.PostgresOptions{Dir: dir})
}
