package anchor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"strings"

	"github.com/hishamos/hishamos/internal/checkpoint"
)

// Git keeps checkpoints as the messages of commits on a branch of their own,
// `hishamos/<log id>`. It touches no work tree, so any repository will do, a
// bare one too. It runs the program git.
type Git struct {
	path    string
	remote  string // pushed to, and read from; empty: the repository itself
	outside bool
	branch  string
}

// NewGit is an anchor in the repository at a path, for the log of an origin.
func NewGit(path, remote, origin string, outside bool) *Git {
	return &Git{path: path, remote: remote, outside: outside, branch: "refs/heads/" + origin}
}

// Name implements checkpoint.Source.
func (g *Git) Name() string {
	if g.remote != "" {
		return "git:" + g.path + " (" + g.remote + ")"
	}
	return "git:" + g.path
}

// Outside implements checkpoint.Source: the operator says so.
func (g *Git) Outside() bool { return g.outside }

// command is git, deaf to questions and to settings that change its output.
func (g *Git) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", append([]string{
		"-C", g.path, "-c", "user.name=hishamos", "-c", "user.email=hishamos@localhost",
		"-c", "i18n.commitEncoding=utf-8", "-c", "i18n.logOutputEncoding=utf-8", "-c", "commit.gpgSign=false",
	}, args...)...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "GIT_") || strings.HasPrefix(v, "GIT_SSH") || strings.HasPrefix(v, "GIT_ASKPASS") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	return cmd
}

// run runs git with some input and returns its output without the last newline.
func (g *Git) run(ctx context.Context, input string, args ...string) (string, error) {
	cmd := g.command(ctx, args...)
	var out, complaint bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &complaint
	if err := cmd.Run(); err != nil {
		line, _, _ := strings.Cut(strings.TrimSpace(complaint.String()), "\n")
		return "", unread(g.Name(), fmt.Errorf("git %s: %w: %s", args[0], err, line))
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

// tip is the newest commit of the branch where it is believed: at the remote if
// there is one. Empty: there is none yet.
func (g *Git) tip(ctx context.Context) (string, error) {
	if g.remote == "" {
		return g.local(ctx)
	}
	line, err := g.run(ctx, "", "ls-remote", "--", g.remote, g.branch)
	if err != nil || line == "" {
		return "", err
	}
	commit, _, _ := strings.Cut(line, "\t")
	_, err = g.run(ctx, "", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", g.remote, g.branch)
	return commit, err
}

func (g *Git) local(ctx context.Context) (string, error) {
	return g.run(ctx, "", "for-each-ref", "--format=%(objectname)", g.branch)
}

// Read implements checkpoint.Source.
func (g *Git) Read(ctx context.Context) iter.Seq2[checkpoint.Signed, error] {
	return func(yield func(checkpoint.Signed, error) bool) {
		tip, err := g.tip(ctx)
		if err != nil {
			yield(checkpoint.Signed{}, err)
			return
		}
		if tip == "" {
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		cmd := g.command(ctx, "log", "--reverse", "--first-parent", "--format=tformat:%B%n", tip)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			yield(checkpoint.Signed{}, unread(g.Name(), err))
			return
		}
		wanted := scan(out, yield)
		if !wanted {
			cancel()
		}
		if err := cmd.Wait(); err != nil && wanted && !errors.Is(err, io.EOF) {
			yield(checkpoint.Signed{}, unread(g.Name(), err))
		}
	}
}

// Newest implements checkpoint.Anchor.
func (g *Git) Newest(ctx context.Context) (newest checkpoint.Signed, ok bool, err error) {
	tip, err := g.tip(ctx)
	if err != nil || tip == "" {
		return newest, false, err
	}
	message, err := g.run(ctx, "", "log", "-1", "--format=tformat:%B%n", tip)
	if err != nil {
		return newest, false, err
	}
	scan(strings.NewReader(message+"\n\n"), func(n checkpoint.Signed, e error) bool {
		newest, err = n, e
		return true
	})
	if err == nil && newest.Text == "" {
		err = checkpoint.ErrForm
	}
	if err != nil {
		return newest, false, fmt.Errorf("%s: commit %s: %w", g.Name(), tip, err)
	}
	return newest, true, nil
}

// Append implements checkpoint.Anchor: one commit for all of them.
func (g *Git) Append(ctx context.Context, notes []checkpoint.Signed) error {
	tip, err := g.tip(ctx)
	if err != nil {
		return err
	}
	before, err := g.local(ctx)
	if err != nil {
		return err
	}
	tree, err := g.run(ctx, "", "hash-object", "-w", "-t", "tree", "--stdin")
	if err != nil {
		return err
	}
	args := []string{"commit-tree", tree}
	if tip != "" {
		args = append(args, "-p", tip)
	}
	commit, err := g.run(ctx, checkpoint.Write(notes), args...)
	if err != nil {
		return err
	}
	if g.remote != "" {
		// Refused if somebody else was faster: no force.
		if _, err := g.run(ctx, "", "push", "--quiet", "--", g.remote, commit+":"+g.branch); err != nil {
			return err
		}
	}
	if before == "" {
		before = strings.Repeat("0", len(commit))
	}
	_, err = g.run(ctx, "", "update-ref", "-m", "checkpoints", g.branch, commit, before)
	return err
}
