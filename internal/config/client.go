package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/caarlos0/env/v11"

	"github.com/hishamos/hishamos/domain"
)

// Client is what `hish` remembers between calls: where the server is and the
// token to sign in with.
type Client struct {
	URL   string
	Token Secret
}

// clientFile is Client as it is on disk, where the token must be readable.
type clientFile struct {
	URL   string `json:"url,omitempty"`
	Token string `json:"token,omitempty"`
}

// ErrNoClient says that nobody signed in from here yet.
var ErrNoClient = &domain.Error{
	Kind: domain.Unauthenticated, Code: "client.not_signed_in", Message: "there is no token for the server",
	Fix: "set HISHAMOS_TOKEN, or start the server once as this user: it writes the file client.json",
}

// Client is how to reach the server: what the environment says goes before what
// the file says.
func (c Config) Client(file Client) Client {
	out := Client{URL: c.URL, Token: c.Token}
	if out.URL == "" {
		out.URL = file.URL
	}
	if out.URL == "" {
		out.URL = c.ServerURL()
	}
	if !out.Token.Set() {
		out.Token = file.Token
	}
	return out
}

// ClientPath is where the file of `hish` belongs in an environment:
// ${XDG_CONFIG_HOME:-~/.config}/hishamos/client.json.
func ClientPath(environ []string) (string, error) {
	vars := env.ToMap(environ)
	if base := vars["XDG_CONFIG_HOME"]; filepath.IsAbs(base) {
		return filepath.Join(base, "hishamos", "client.json"), nil
	}
	if home := vars["HOME"]; filepath.IsAbs(home) {
		return filepath.Join(home, ".config", "hishamos", "client.json"), nil
	}
	return "", invalid("HOME", "there is no home folder to find client.json in", "set HOME, or HISHAMOS_TOKEN and HISHAMOS_URL")
}

// LoadClient reads the file. A missing file is ErrNoClient; a file that others
// may read is refused, because its token is no secret any more.
func LoadClient(path string) (Client, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Client{}, ErrNoClient.With("there is no token for the server in %s", path)
	}
	if err != nil {
		return Client{}, fmt.Errorf("read client settings: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Client{}, fmt.Errorf("read client settings: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return Client{}, &domain.Error{
			Kind: domain.Forbidden, Code: "client.readable_by_others", Message: path + " holds a token and may be read by others",
			Fix: "chmod 600 " + path,
		}
	}
	var c clientFile
	if err := json.NewDecoder(f).Decode(&c); err != nil {
		return Client{}, &domain.Error{
			Kind: domain.Invalid, Code: "client.damaged", Message: fmt.Sprintf("%s is not what was written there: %v", path, err),
			Fix: "remove the file and sign in again",
		}
	}
	return Client{URL: c.URL, Token: Secret{c.Token}}, nil
}

// SaveClient writes the file for its owner only (0600) and all at once: a reader
// sees the old file or the new one, also after a crash.
func SaveClient(path string, c Client) error {
	data, err := json.MarshalIndent(clientFile{URL: c.URL, Token: c.Token.value}, "", "  ")
	if err != nil {
		return fmt.Errorf("write client settings: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write client settings: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".client-*") // made with mode 0600
	if err != nil {
		return fmt.Errorf("write client settings: %w", err)
	}
	_, err = f.Write(append(data, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write client settings: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
