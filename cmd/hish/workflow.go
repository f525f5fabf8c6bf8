package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
	hishamos "github.com/hishamos/hishamos/sdk/go"
)

func (a *app) workflowCommands() *cobra.Command {
	return group("workflow", "Look at and change workflows",
		a.workflowList(), a.workflowShow(), a.workflowVersions(), a.workflowCreate(), a.workflowEdit(), a.workflowCopy(), a.workflowArchive())
}

func (a *app) workflowList() *cobra.Command {
	var p hishamos.Page
	var archived bool
	c := a.call("list", "List workflows", cobra.NoArgs, func(cmd *cobra.Command, c *hishamos.Client, _ []string) error {
		page, err := c.Workflows(cmd.Context(), p, archived)
		if err != nil {
			return err
		}
		return a.show(page, func() error {
			rows := make([][]string, len(page.Items))
			for i, w := range page.Items {
				kind := "own"
				switch {
				case w.Stock:
					kind = "stock"
				case w.Archived:
					kind = "archived"
				}
				rows[i] = []string{w.ID, fmt.Sprint(w.Version), kind, w.Title}
			}
			a.more(page.Next)
			return a.rows([]string{"Workflow", "Version", "Kind", "Title"}, rows)
		})
	})
	c.Flags().BoolVar(&archived, "archived", false, "archived ones too")
	pageFlags(c, &p)
	return c
}

func (a *app) workflowShow() *cobra.Command {
	var version int
	c := a.call("show WORKFLOW", "Show a workflow as a file that create and edit accept", cobra.ExactArgs(1), func(cmd *cobra.Command, c *hishamos.Client, args []string) error {
		w, err := c.Workflow(cmd.Context(), args[0], version)
		if err != nil {
			return err
		}
		return a.show(w, func() error {
			text, err := fileOf(w)
			if err != nil {
				return err
			}
			return a.printf("%s", text)
		})
	})
	c.Flags().IntVar(&version, "version", 0, "an older version")
	return c
}

// fileOf is a workflow as the YAML file that the server reads again.
func fileOf(w v1.Workflow) ([]byte, error) {
	if w.Definition == nil {
		return nil, fmt.Errorf("the server sent workflow %s without its definition", w.ID)
	}
	text, err := json.Marshal(struct {
		Schema string `json:"schema"`
		Kind   string `json:"kind"`
		domain.Definition
	}{"workflow/v1", "workflow", *w.Definition})
	if err != nil {
		return nil, fmt.Errorf("write workflow %s: %w", w.ID, err)
	}
	return yaml.JSONToYAML(text)
}

func (a *app) workflowVersions() *cobra.Command {
	var p hishamos.Page
	c := a.call("versions WORKFLOW", "List the versions of a workflow", cobra.ExactArgs(1), func(cmd *cobra.Command, c *hishamos.Client, args []string) error {
		list, err := c.WorkflowVersions(cmd.Context(), args[0], p)
		if err != nil {
			return err
		}
		return a.show(list, func() error {
			rows := make([][]string, len(list.Items))
			for i, v := range list.Items {
				when := ""
				if !v.Recorded.IsZero() {
					when = stamp(v.Recorded)
				}
				rows[i] = []string{fmt.Sprint(v.Version), when, v.By, v.Hash}
			}
			a.more(list.Next)
			return a.rows([]string{"Version", "Recorded", "By", "Hash"}, rows)
		})
	})
	pageFlags(c, &p)
	return c
}

// document reads a definition; its form shows in its first character.
func (a *app) document(name string) (hishamos.Document, error) {
	text, err := a.readFrom(name)
	if err != nil {
		return hishamos.Document{}, err
	}
	return documentOf(text), nil
}

func documentOf(text []byte) hishamos.Document {
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		return hishamos.Document{Text: text, Media: "application/json"}
	}
	return hishamos.Document{Text: text, Media: "application/yaml"}
}

// settled lets the next command see what this one did.
func settled(o hishamos.Command) hishamos.Command {
	o.After = "projected"
	return o
}

func (a *app) workflowCreate() *cobra.Command {
	var file string
	var o hishamos.Command
	c := a.call("create -f FILE", "Create a workflow from a file", cobra.NoArgs, func(cmd *cobra.Command, c *hishamos.Client, _ []string) error {
		d, err := a.document(file)
		if err != nil {
			return err
		}
		r, err := c.CreateWorkflow(cmd.Context(), d, settled(o))
		if err != nil {
			return err
		}
		return a.show(r, func() error { return a.printf("Created %s.\n", clean(r.ID)) })
	})
	c.Flags().StringVarP(&file, "file", "f", "", "the definition as YAML or JSON; - is standard input")
	if err := c.MarkFlagRequired("file"); err != nil {
		panic(err) // the flag is defined one line above
	}
	keyFlag(c, &o)
	return c
}

func (a *app) workflowEdit() *cobra.Command {
	var file string
	var o hishamos.Command
	c := a.call("edit WORKFLOW", "Change a workflow in your editor, or from a file", cobra.ExactArgs(1), func(cmd *cobra.Command, c *hishamos.Client, args []string) error {
		w, err := c.Workflow(cmd.Context(), args[0], 0)
		if err != nil {
			return err
		}
		var d hishamos.Document
		kept := ""
		if file != "" {
			d, err = a.document(file)
		} else {
			d, kept, err = a.editor(cmd, w)
		}
		if err != nil {
			return err
		}
		if d.Text == nil {
			return a.printf("Nothing changed.\n")
		}
		o.Match = fmt.Sprintf(`"%s"`, w.ETag)
		r, err := c.ReviseWorkflow(cmd.Context(), args[0], d, settled(o))
		if err != nil {
			if kept != "" {
				fmt.Fprintf(a.err, "Your text is kept in %s; mend it and use: hish workflow edit %s -f %s\n", kept, clean(args[0]), kept)
			}
			return err
		}
		if kept != "" {
			if err := os.Remove(kept); err != nil {
				return fmt.Errorf("remove %s: %w", kept, err)
			}
		}
		return a.show(r, func() error { return a.printf("Changed %s.\n", clean(r.ID)) })
	})
	c.Flags().StringVarP(&file, "file", "f", "", "the new definition as YAML or JSON; - is standard input")
	keyFlag(c, &o)
	return c
}

// editor lets the user change a workflow's file. The document is empty when
// nothing was changed.
func (a *app) editor(cmd *cobra.Command, w v1.Workflow) (d hishamos.Document, kept string, err error) {
	program := a.getenv("VISUAL")
	if program == "" {
		program = a.getenv("EDITOR")
	}
	if program == "" {
		return d, "", usage("set EDITOR, or give the new definition with -f")
	}
	before, err := fileOf(w)
	if err != nil {
		return d, "", err
	}
	folder, err := os.MkdirTemp("", "hish-")
	if err != nil {
		return d, "", fmt.Errorf("make a file to edit: %w", err)
	}
	kept = filepath.Join(folder, "workflow.yaml")
	if err := os.WriteFile(kept, before, 0o600); err != nil {
		return d, "", fmt.Errorf("make a file to edit: %w", err)
	}
	words := strings.Fields(program)
	e := exec.CommandContext(cmd.Context(), words[0], append(words[1:], kept)...)
	e.Stdin, e.Stdout, e.Stderr = a.in, a.out, a.err
	if err := e.Run(); err != nil {
		return d, "", usage("the editor %s: %v", program, err)
	}
	after, err := os.ReadFile(kept)
	if err != nil {
		return d, "", fmt.Errorf("read what was edited: %w", err)
	}
	if bytes.Equal(before, after) {
		return d, "", os.RemoveAll(folder)
	}
	return documentOf(after), kept, nil
}

func (a *app) workflowCopy() *cobra.Command {
	var title string
	var o hishamos.Command
	c := a.call("copy WORKFLOW NEW", "Copy a workflow under a new id", cobra.ExactArgs(2), func(cmd *cobra.Command, c *hishamos.Client, args []string) error {
		r, err := c.CopyWorkflow(cmd.Context(), args[0], v1.CopyWorkflow{ID: args[1], Title: title}, settled(o))
		if err != nil {
			return err
		}
		return a.show(r, func() error { return a.printf("Copied %s to %s.\n", clean(args[0]), clean(r.ID)) })
	})
	c.Flags().StringVar(&title, "title", "", "title of the copy")
	keyFlag(c, &o)
	return c
}

func (a *app) workflowArchive() *cobra.Command {
	var o hishamos.Command
	c := a.call("archive WORKFLOW", "Take a workflow out of use", cobra.ExactArgs(1), func(cmd *cobra.Command, c *hishamos.Client, args []string) error {
		w, err := c.Workflow(cmd.Context(), args[0], 0)
		if err != nil {
			return err
		}
		o.Match = fmt.Sprintf(`"%s"`, w.ETag)
		r, err := c.ArchiveWorkflow(cmd.Context(), args[0], settled(o))
		if err != nil {
			return err
		}
		return a.show(r, func() error { return a.printf("Archived %s.\n", clean(r.ID)) })
	})
	keyFlag(c, &o)
	return c
}
