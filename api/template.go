package api

import (
	"context"
	"slices"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/library"
)

type listTemplatesInput struct {
	PageQuery
	Category string `query:"category" maxLength:"128" doc:"Only templates of this category"`
	Sort     string `query:"sort" enum:"id,-id" default:"id" doc:"Order; - is descending"`
}

func (s *server) listTemplates(_ context.Context, in *listTemplatesInput) (*body[v1.TemplateList], error) {
	filter := *in
	filter.PageQuery = PageQuery{}
	p, err := s.page(in.PageQuery, "templates", filter)
	if err != nil {
		return nil, err
	}
	ids := s.Library.TemplateIDs()
	if in.Sort == "-id" {
		slices.Reverse(ids)
	}
	found := []v1.Template{}
	for _, id := range ids {
		if t, _ := s.Library.Template(id); in.Category == "" || t.Category == in.Category {
			found = append(found, templateView(t))
		}
	}
	page, next := pageOf(found, func(t v1.Template) string { return t.ID }, p)
	return answer(v1.TemplateList{Items: page, Next: s.cursor("templates", filter, next)}), nil
}

type templateInput struct {
	Conditional
	Template string `path:"template" maxLength:"128" doc:"Id of the template" example:"requirements.write-user-stories"`
}

func (s *server) getTemplate(_ context.Context, in *templateInput) (*versioned[v1.Template], error) {
	t, ok := s.Library.Template(in.Template)
	if !ok {
		return nil, errNotFound
	}
	out := templateView(t)
	out.Description, out.Parameters, out.Output = t.Description, t.Parameters, t.Output.Schema
	return unlessKnown(in.Conditional, `"`+t.Ref().Hash+`"`, out)
}

func templateView(t *library.Template) v1.Template {
	return v1.Template{
		ID: t.ID, Version: t.Version, Title: t.Title, Category: t.Category, Summary: t.Summary,
		Tags: list(slices.Clone(t.Tags)), Hash: t.Ref().Hash,
	}
}
