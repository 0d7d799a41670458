package provider

import "strings"

// textOf returns what a message of that type says in words; nil if it says
// nothing, as a picture without a caption or a reaction that is taken back.
func textOf(m value, kind string) *string {
	if kind == "edit" {
		return editedText(m.member("edit"))
	}
	v := m.member(kind)
	switch kind {
	case "text", "system":
		return v.text("body")
	case "image", "video", "document":
		return v.text("caption")
	case "audio", "voice", "sticker", "revoke", "unsupported":
		return nil
	case "button", "order":
		return v.text("text")
	case "interactive":
		return replyText(v)
	case "reaction":
		return joined(v.text("emoji"))
	case "location":
		return joined(v.text("name"), v.text("address"))
	case "contacts":
		return contactNames(v)
	}
	return first(v.text("caption"), v.text("body"), v.text("text"))
}

// editedText returns the text that a message has after an edit.
func editedText(edit value) *string {
	edited := edit.member("message")
	kind, ok := edited.member("type").str()
	if !ok || kind == "edit" { // an edit is of a message, not of another edit
		return nil
	}
	return textOf(edited, kind)
}

// replyText returns what somebody chose, or that they filled in a form.
func replyText(interactive value) *string {
	return first(
		interactive.member("button_reply").text("title"),
		interactive.member("list_reply").text("title"),
		interactive.member("nfm_reply").text("body"),
	)
}

// contactNames returns the names on the cards that were sent.
func contactNames(cards value) *string {
	var names []*string
	for card := range cards.elements() {
		names = append(names, card.member("name").text("formatted_name"))
	}
	return joined(names...)
}

// first returns the first text that is there.
func first(texts ...*string) *string {
	for _, t := range texts {
		if t != nil {
			return t
		}
	}
	return nil
}

// joined returns the texts that are there and not empty as a list; nil if none is.
func joined(texts ...*string) *string {
	var list []string
	for _, t := range texts {
		if t != nil && *t != "" {
			list = append(list, *t)
		}
	}
	if list == nil {
		return nil
	}
	s := strings.Join(list, ", ")
	return &s
}
