Deno.serve({ port: Number(Deno.args[0]), onListen() {} }, () => new Response(String(Deno.pid)));
