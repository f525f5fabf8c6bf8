package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/api/v1"
	hishamos "github.com/hishamos/hishamos/sdk/go"
)

func (a *app) fileCommands() *cobra.Command {
	return group("file", "Upload, list and read files", a.fileUpload(), a.fileList(), a.fileShow(), a.fileGet(), a.fileRemove())
}

func (a *app) fileUpload() *cobra.Command {
	var u hishamos.NewUpload
	var resume string
	var o hishamos.Command
	c := a.call("upload FILE", "Upload a file", cobra.ExactArgs(1), func(cmd *cobra.Command, c *hishamos.Client, args []string) error {
		f, err := os.Open(args[0])
		if err != nil {
			return usage("cannot read %s: %v", args[0], errors.Unwrap(err))
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil || !info.Mode().IsRegular() {
			return usage("%s is not a file", args[0])
		}
		u.Size = info.Size()
		if u.Name == "" {
			u.Name = filepath.Base(args[0])
		}
		if u.MediaType == "" {
			u.MediaType = mime.TypeByExtension(filepath.Ext(u.Name))
		}
		id := resume
		if id == "" {
			r, err := c.BeginUpload(cmd.Context(), u, o)
			if err != nil {
				return err
			}
			id = r.ID
		} else if at, err := c.Upload(cmd.Context(), id); err != nil {
			return err
		} else if at.Length != u.Size {
			return usage("%s has %d bytes, and the upload is of %d: it is another file", args[0], u.Size, at.Length)
		}
		bar := a.newBar()
		file, err := c.SendUpload(cmd.Context(), id, f, bar.show)
		bar.end()
		if err != nil {
			fmt.Fprintf(a.err, "It stands where it stood: hish file upload %s --resume %s\n", clean(args[0]), clean(id))
			return err
		}
		return a.show(file, func() error { return a.printf("%s\n", clean(file.ID)) })
	})
	c.Flags().StringVar(&u.Name, "name", "", "name of the file; by default its own")
	c.Flags().StringVar(&u.MediaType, "type", "", "media type; by default by its ending")
	c.Flags().StringVar(&resume, "resume", "", "go on with this upload")
	keyFlag(c, &o)
	return c
}

// bar shows how far an upload is, if there is a terminal.
type bar struct {
	a     *app
	shown time.Time
}

func (a *app) newBar() *bar { return &bar{a: a} }

const (
	barWidth = 30
	barEvery = 100 * time.Millisecond
)

func (b *bar) show(kept, size int64) {
	if !b.a.terminal || size == 0 || kept < size && time.Since(b.shown) < barEvery {
		return
	}
	b.shown = time.Now()
	done := int(kept * barWidth / size)
	fmt.Fprintf(b.a.err, "\r[%s%s] %3d %% of %s ", strings.Repeat("#", done), strings.Repeat(".", barWidth-done), kept*100/size, sizeOf(size))
}

func (b *bar) end() {
	if !b.shown.IsZero() {
		fmt.Fprintln(b.a.err)
	}
}

// sizeOf is a size as people read it.
func sizeOf(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	f, i := float64(n), 0
	for f >= 1000 && i < len(units)-1 {
		f, i = f/1000, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

func (a *app) fileList() *cobra.Command {
	var q hishamos.FilesQuery
	c := a.call("list", "List files", cobra.NoArgs, func(cmd *cobra.Command, c *hishamos.Client, _ []string) error {
		page, err := c.Files(cmd.Context(), q)
		if err != nil {
			return err
		}
		return a.show(page, func() error {
			rows := make([][]string, len(page.Items))
			for i, f := range page.Items {
				rows[i] = []string{f.ID, f.State, sizeOf(f.Size), f.MediaType, f.CreatedBy, stamp(f.Created), f.Name}
			}
			a.more(page.Next)
			return a.rows([]string{"File", "State", "Size", "Type", "By", "Created", "Name"}, rows)
		})
	})
	c.Flags().StringVar(&q.State, "state", "", "uploading, ready or removed; by default all that were not removed")
	pageFlags(c, &q.Page)
	return c
}

func (a *app) fileShow() *cobra.Command {
	var at string
	c := a.call("show FILE", "Show what is known of a file", cobra.ExactArgs(1), func(cmd *cobra.Command, c *hishamos.Client, args []string) error {
		f, err := c.File(cmd.Context(), args[0], at)
		if err != nil {
			return err
		}
		return a.show(f, func() error {
			rows := [][]string{{"State", f.State}, {"Name", f.Name}, {"Type", f.MediaType}, {"Size", fmt.Sprint(f.Size)}, {"SHA-256", f.Digest}, {"By", f.CreatedBy}, {"Created", stamp(f.Created)}}
			if f.Reason != "" {
				rows = append(rows, []string{"Removed", f.Reason})
			}
			return a.rows([]string{"File", f.ID}, rows)
		})
	})
	c.Flags().StringVar(&at, "at", "", "as of a position (1234) or an instant (2026-11-23T09:30:00Z)")
	return c
}

func (a *app) fileGet() *cobra.Command {
	var target string
	c := a.call("get FILE", "Read the content of a file", cobra.ExactArgs(1), func(cmd *cobra.Command, c *hishamos.Client, args []string) error {
		if target == "" {
			return download(cmd.Context(), c, args[0], a.out)
		}
		f, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return usage("cannot make %s: %v", target, errors.Unwrap(err))
		}
		err = download(cmd.Context(), c, args[0], f)
		if err = errors.Join(err, f.Close()); err != nil { // half a file is no file
			return errors.Join(err, os.Remove(target))
		}
		return nil
	})
	c.Flags().StringVarP(&target, "output", "o", "", "file to write, which must not exist; by default the standard output")
	return c
}

func download(ctx context.Context, c *hishamos.Client, id string, to io.Writer) error {
	content, err := c.FileContent(ctx, id, 0)
	if err != nil {
		return err
	}
	defer content.Close()
	if _, err := io.Copy(to, content); err != nil {
		return fmt.Errorf("read file %s: %w", id, err)
	}
	return nil
}

func (a *app) fileRemove() *cobra.Command {
	var reason string
	var sure bool
	var o hishamos.Command
	c := a.call("remove FILE", "Give an upload up, or erase a file, for ever", cobra.ExactArgs(1), func(cmd *cobra.Command, c *hishamos.Client, args []string) error {
		if !sure {
			return usage("this cannot be undone: add --yes")
		}
		u, err := c.Upload(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if u.State == v1.FileUploading {
			if err := c.EndUpload(cmd.Context(), args[0], o); err != nil {
				return err
			}
			return a.show(u, func() error { return a.printf("Gave up the upload of %s.\n", clean(args[0])) })
		}
		r, err := c.EraseFile(cmd.Context(), args[0], reason, o)
		if err != nil {
			return err
		}
		return a.show(r, func() error { return a.printf("Erasing %s: order %s.\n", clean(args[0]), clean(r.ID)) })
	})
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	c.Flags().BoolVar(&sure, "yes", false, "do it: nothing brings it back")
	keyFlag(c, &o)
	return c
}
