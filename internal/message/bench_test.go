package message_test

import (
	"encoding/json"
	"testing"

	"lyftr/internal/message"
)

// BenchmarkDecode compares Decode with what encoding/json alone takes.
func BenchmarkDecode(b *testing.B) {
	body := []byte(`{"message_id":"wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQzQTRB","from":"+919876543210","to":"+14155550100",` +
		`"ts":"2025-01-15T10:00:00Z","text":"The order is on its way and should be with you before noon. Please call."}`)
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := message.Decode(body); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("unmarshal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var m struct {
				ID   string  `json:"message_id"`
				From string  `json:"from"`
				To   string  `json:"to"`
				TS   string  `json:"ts"`
				Text *string `json:"text"`
			}
			if err := json.Unmarshal(body, &m); err != nil {
				b.Fatal(err)
			}
		}
	})
}
