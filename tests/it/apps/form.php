<?php
// A page that takes a picture without any JavaScript, beside the `shop.json` of its registration: `PIXERVE=... php -S ... form.php`.
// Lines between `Pixerve` and `the page` are glue, which the test counts.

// Pixerve
$pixerve = getenv('PIXERVE');
$keys = json_decode(file_get_contents(__DIR__ . '/shop.json'), true);

function token(array $keys, string $back): string
{
    $base64 = fn (string $bytes) => rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
    $signed = $base64(json_encode(['alg' => 'HS256', 'kid' => $keys['access_key']])) . '.' . $base64(json_encode([
        'sub' => 'guest', 'iat' => time(), 'exp' => time() + 3600,
        'job' => ['formats' => ['jpg' => ['sizes' => [[300]]]], 'directHost' => true, 'redirect' => $back, 'onDuplicate' => 'queue'],
    ]));
    return $signed . '.' . $base64(hash_hmac('sha256', $signed, $keys['secret'], true));
}

$job = null;
if (isset($_GET['job_id'])) {
    $job = json_decode(file_get_contents("$pixerve/status?wait=30&job_id=" . urlencode($_GET['job_id'])), true);
}
// the page

$text = fn (string $text) => htmlspecialchars($text);
?>
<!doctype html><meta charset="utf-8"><title>Guest book</title>
<h1>Guest book</h1>
<!-- Pixerve -->
<?php if (isset($_GET['code'])) { ?>
<p role="alert">That didn't work: <?= $text($_GET['code']) ?></p>
<?php } elseif ($job && $job['state'] === 'completed') { ?>
<img src="<?= $text($pixerve . $job['files'][0]['stored'][0]['location']) ?>" alt="your picture">
<?php } elseif ($job) { ?>
<p role="alert"><?= $text($job['error'] ?? 'It is not done yet: reload this page.') ?></p>
<?php } ?>
<form method="post" enctype="multipart/form-data" action="<?= $text($pixerve) ?>/upload">
  <input type="hidden" name="token" value="<?= token($keys, "http://$_SERVER[HTTP_HOST]/") ?>">
  <label>Picture <input type="file" name="file" accept="image/*" required></label>
  <!-- the page -->
  <button>Send</button>
</form>
