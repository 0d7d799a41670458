package telemetry_test

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"lyftr/internal/telemetry"
)

// BenchmarkRequestLine compares the line written by hand with the same one by
// the logger.
func BenchmarkRequestLine(b *testing.B) {
	line := telemetry.RequestLine{
		Time: lineTime, RequestID: "888ae6da2586af14", Method: "POST", Path: "/webhook", Status: 200, Latency: 1234 * time.Microsecond,
		Webhook: true, MessageID: "wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQzQTRB", Result: telemetry.ResultCreated,
	}
	b.Run("by hand", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			buf = line.Append(buf[:0])
		}
	})
	b.Run("slog", func(b *testing.B) {
		b.ReportAllocs()
		l := telemetry.NewLogger(io.Discard, slog.LevelInfo)
		for b.Loop() {
			l.LogAttrs(b.Context(), slog.LevelInfo, "request", slog.String("request_id", line.RequestID), slog.String("method", line.Method),
				slog.String("path", line.Path), slog.Int("status", line.Status), slog.Float64("latency_ms", 1.234),
				slog.String("message_id", line.MessageID), slog.Bool("dup", line.Dup), slog.String("result", string(line.Result)))
		}
	})
}
