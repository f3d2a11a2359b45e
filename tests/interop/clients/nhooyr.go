// nhooyr.io/websocket.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"

	"nhooyr.io/websocket"
)

type fields map[string]interface{}

func say(what fields) {
	line, _ := json.Marshal(what)
	fmt.Println(string(line))
}

func fragments(ctx context.Context, socket *websocket.Conn) error {
	writer, err := socket.Writer(ctx, websocket.MessageText)
	if err != nil {
		return err
	}
	for _, part := range []string{"one, ", "two, ", "three"} {
		if _, err := writer.Write([]byte(part)); err != nil {
			return err
		}
	}
	return writer.Close()
}

func pingPong(ctx context.Context, socket *websocket.Conn) {
	if socket.Ping(ctx) == nil { // it waits for the pong, which the reader gets
		socket.Write(ctx, websocket.MessageText, []byte("pong"))
	}
}

func talk(client *http.Client, url string) error {
	ctx := context.Background()
	socket, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient:      client,
		Subprotocols:    []string{"other", "interop"},
		CompressionMode: websocket.CompressionContextTakeover,
	})
	if err != nil {
		return err
	}
	socket.SetReadLimit(2 << 20)
	say(fields{"open": socket.Subprotocol()})
	for {
		kind, data, err := socket.Read(ctx)
		if err != nil {
			closed := websocket.CloseError{Code: websocket.StatusAbnormalClosure}
			errors.As(err, &closed)
			say(fields{"closed": closed.Code, "reason": closed.Reason})
			return nil
		}
		switch string(data) {
		case "/fragments":
			err = fragments(ctx, socket)
		case "/ping":
			go pingPong(ctx, socket)
		case "/close":
			socket.Close(4001, "over")
		default:
			err = socket.Write(ctx, kind, data)
		}
		if err != nil {
			return err
		}
	}
}

func main() {
	pem, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	trust := x509.NewCertPool()
	trust.AppendCertsFromPEM(pem)
	client := &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}},
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := talk(client, lines.Text()); err != nil {
			panic(err)
		}
	}
}
