package embedded

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hishamos/hishamos/domain"
)

// half begins the names of folders in which initdb is at work. The data gets its
// name only when it is whole, so a folder of this name holds nothing anybody
// ever stored.
const half = "data.initialising-"

// inspect returns the major version of the data, 0 if there is none yet, and
// refuses data that is not whole. It removes nothing but halves.
func (p *Postgres) inspect() (major int, err error) {
	halves, err := filepath.Glob(p.path(half + "*"))
	if err != nil {
		return 0, fmt.Errorf("inspect %s: %w", p.dir, err)
	}
	for _, h := range halves {
		if err := removeHalf(h); err != nil {
			return 0, fmt.Errorf("remove what a killed initdb left: %w", err)
		}
	}
	if _, err := os.Stat(p.data); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, name := range []string{"PG_VERSION", "global/pg_control", "base", "pg_wal", "pg_xact"} {
		info, err := os.Stat(filepath.Join(p.data, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return 0, p.damaged(name + " is missing")
		case errors.Is(err, fs.ErrPermission):
			return 0, folderError(p.data, err)
		case err != nil:
			return 0, fmt.Errorf("inspect %s: %w", p.data, err)
		case !info.IsDir() && info.Size() == 0:
			return 0, p.damaged(name + " is empty")
		}
	}
	b, err := os.ReadFile(filepath.Join(p.data, "PG_VERSION"))
	if err != nil {
		return 0, folderError(p.data, err)
	}
	if major, err = strconv.Atoi(strings.TrimSpace(string(b))); err != nil {
		return 0, p.damaged(fmt.Sprintf("PG_VERSION says %q", b))
	}
	return major, nil
}

// removeHalf removes a folder in which the children of a killed initdb may still
// write for a moment.
func removeHalf(folder string) error {
	for giveUp := time.Now().Add(10 * time.Second); ; time.Sleep(pollEvery) {
		err := os.RemoveAll(folder)
		if err == nil || !errors.Is(err, syscall.ENOTEMPTY) || time.Now().After(giveUp) {
			return err
		}
	}
}

func (p *Postgres) damaged(what string) error {
	return &domain.Error{
		Kind: domain.Conflict, Code: "data.damaged",
		Message: fmt.Sprintf("the Postgres data in %s is damaged: %s; nothing was changed", p.data, what),
		Fix:     "put a backup of the folder back, or move it away and restore the events from Kafka or a backup into a new one",
	}
}

// initialise makes the data: under another name until everything is there, so
// that a kill at any moment leaves either nothing or the whole.
func (p *Postgres) initialise(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("make the data of the embedded Postgres: %w", err)
		}
	}()
	data, err := os.MkdirTemp(p.dir, half)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeHalf(data)) }() // after the renaming there is nothing to remove
	if err := p.as.chown(data); err != nil {
		return err
	}
	password, err := p.lendPassword()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(password)) }()
	cmd := p.program("initdb", "-D", data, "-U", superuser, "--pwfile", password, "--auth=scram-sha-256",
		"--data-checksums", "--encoding=UTF8", "--locale=C", "--no-instructions")
	if output, err := run(ctx, cmd, p.as, ""); err != nil {
		return p.explainInit("initdb", output, err)
	}
	cmd = p.program("postgres", "--single", "-D", data, "-c", "exit_on_error=true", "postgres")
	if output, err := run(ctx, cmd, p.as, "CREATE DATABASE "+databaseName+";\n"); err != nil {
		return p.explainInit("create database", output, err)
	}
	if err := os.Rename(data, p.data); err != nil {
		return err
	}
	return syncFolder(p.dir)
}

func (p *Postgres) explainInit(step, output string, err error) error {
	return &domain.Error{
		Kind: domain.Unavailable, Code: "postgres.init_failed",
		Message: fmt.Sprintf("%s: %v: %s", step, err, strings.TrimSpace(output)),
		Fix:     "free disk space or choose another folder with HISHAMOS_DATA, and start again",
	}
}

func (p *Postgres) program(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(p.programs.path(name), args...)
	cmd.Dir, cmd.Env = p.dir, p.environment()
	return cmd
}

// environment is what the server's programs get of ours: nothing that could
// change what they do (PGDATA, PGOPTIONS) and no secrets.
func (p *Postgres) environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "LC_ALL=C", "TZ=UTC"}
}

// loadPassword reads the password, or makes one for new data.
func (p *Postgres) loadPassword(fresh bool) (string, error) {
	b, err := os.ReadFile(p.path("password"))
	switch password := strings.TrimSpace(string(b)); {
	case err == nil && password != "":
		return password, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", folderError(p.dir, err)
	case !fresh:
		return "", &domain.Error{
			Kind: domain.Conflict, Code: "postgres.no_password", Message: "the password of the embedded Postgres is missing: " + p.path("password"),
			Fix: "put the file back from a backup of the data folder",
		}
	}
	key := make([]byte, 32)
	rand.Read(key) // never fails
	password := hex.EncodeToString(key)
	return password, writeWhole(p.path("password"), password+"\n", 0o600)
}

// lendPassword writes the password where initdb, perhaps another user, can read
// it.
func (p *Postgres) lendPassword() (string, error) {
	f, err := os.CreateTemp(p.dir, "password-") // made with mode 0600
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(p.password + "\n")
	if err = errors.Join(err, f.Close()); err == nil {
		err = p.as.chown(f.Name())
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// writeWhole writes a file so that after a crash the old content or the new one
// is there.
func writeWhole(path, content string, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".writing-")
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Chmod(mode)); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
