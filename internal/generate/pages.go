package main

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/hishamos/hishamos/api"
	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
)

const pageNote = "This page is written from the code by `make generate`.\n\n"

// everyCommand is one of each; a test compares it with the package.
var everyCommand = []commands.Command{
	commands.CreateWorkflow{},
	commands.ReviseWorkflow{},
	commands.ArchiveWorkflow{},
	commands.OrderErasure{},
	commands.CompleteErasure{},
	commands.StartRun{},
	commands.CompleteStep{},
	commands.FailStep{},
	commands.BeginStep{},
	commands.LapseStep{},
	commands.FireTimer{},
	commands.CancelRun{},
	commands.IssueToken{},
	commands.RotateToken{},
	commands.RevokeToken{},
	commands.DeployReaction{},
	commands.SetLogLevel{},
	commands.BeginUpload{},
	commands.CompleteUpload{},
	commands.UseFile{},
	commands.RemoveFile{},
}

func eventsPage(src source) ([]byte, error) {
	var b strings.Builder
	b.WriteString("# Events\n\n" + pageNote)
	b.WriteString("Everything that can have happened. The first part of a type names its topic, `hishamos.<part>.events`. " +
		"A field of class *content* holds what people or models wrote. Readers ignore fields they do not know.\n\n")
	b.WriteString("| type | version | from level | meaning |\n|---|---|---|---|\n")
	for _, t := range catalogue() {
		note := ""
		if t.Closes {
			note = " Nothing is open after it."
		}
		if t.Retired {
			note += " Retired: it is read for ever and never written."
		}
		fmt.Fprintf(&b, "| [`%s`](#%s) | %d | %d | %s%s |\n", t.Name, anchor(t.Name), t.Version, t.Level,
			cell(src.sentence("events", reflect.TypeOf(t.Zero).Name())), note)
	}
	for _, t := range catalogue() {
		typ := reflect.TypeOf(t.Zero)
		fmt.Fprintf(&b, "\n## %s\n\n[Schema](../../%s)\n", t.Name, schemaFile(t))
		if typ.NumField() == 0 {
			b.WriteString("\nIt has no fields.\n")
			continue
		}
		b.WriteString("\n| field | class | meaning |\n|---|---|---|\n")
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, f.Tag.Get("class"), cell(fieldMeaning(src, typ, f)))
		}
	}
	return []byte(b.String()), nil
}

// fieldMeaning is the comment of a field, or that of its type.
func fieldMeaning(src source, owner reflect.Type, f reflect.StructField) string {
	if own := src["events."+owner.Name()+"."+f.Name]; own != "" {
		return strings.ToUpper(own[:1]) + own[1:]
	}
	typ := f.Type
	for typ.Name() == "" && (typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map) {
		typ = typ.Elem()
	}
	if strings.HasSuffix(typ.PkgPath(), "/domain") {
		return src.sentence("domain", typ.Name())
	}
	return ""
}

// anchor is the link to a heading, as GitHub makes it.
func anchor(heading string) string { return strings.ReplaceAll(heading, ".", "") }

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

func commandsPage(src source) ([]byte, error) {
	var b strings.Builder
	b.WriteString("# Commands\n\n" + pageNote)
	b.WriteString("Everything that may be asked. A command changes one stream, or is refused. " +
		"An *urgent* one ends work that has begun: it is carried out even while new work is refused.\n\n")
	b.WriteString("| command | permission | urgent | meaning |\n|---|---|---|---|\n")
	for _, c := range everyCommand {
		urgent := ""
		if _, ok := c.(commands.Urgent); ok {
			urgent = "yes"
		}
		fmt.Fprintf(&b, "| `%s` | [`%s`](permissions.md) | %s | %s |\n", c.CommandName(), c.Needs(), urgent,
			cell(src.sentence("commands", reflect.TypeOf(c).Name())))
	}
	return []byte(b.String()), nil
}

func permissionsPage(source) ([]byte, error) {
	var b strings.Builder
	b.WriteString("# Permissions\n\n" + pageNote)
	fmt.Fprintf(&b, "A token holds permissions. `%s` stands for all of them.\n\n", domain.AllPermissions)
	b.WriteString("| permission | commands | routes |\n|---|---|---|\n")
	for _, p := range domain.Permissions {
		var asked, routes []string
		for _, c := range everyCommand {
			if c.Needs() == p {
				asked = append(asked, "`"+c.CommandName()+"`")
			}
		}
		for _, r := range api.Routes() {
			if r.Permission == p {
				routes = append(routes, "`"+r.Method+" "+r.Path+"`")
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", p, strings.Join(asked, "<br>"), strings.Join(routes, "<br>"))
	}
	return []byte(b.String()), nil
}
