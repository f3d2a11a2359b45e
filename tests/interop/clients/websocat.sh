# websocat, a program in Rust: it sends back what it gets.
while read -r url; do
    websocat --protocol interop --buffer-size 2000000 \
        --text --text-prefix T --binary-prefix B "$url" mirror:
    echo '{"closed": null, "reason": null}'
done
