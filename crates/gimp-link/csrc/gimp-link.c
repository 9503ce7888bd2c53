/* The GIMP link: tells another program about GIMP's documents and does with them what it is told, by a Unix socket.
 *
 * A persistent extension, which GIMP starts by itself because it takes no arguments. One source for libgimp 2.0 and 3.0.
 * It decides nothing: what is copied when, and what of it is kept, is the other side's. The messages are described in
 * src/lib.rs. It must never crash of what it is sent, never open a window, and never touch an image's file or dirty flag
 * unless told to.
 */

/* accept4, renameat2 */
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <glib-unix.h>
#include <json-glib/json-glib.h>
#include <libgimp/gimp.h>

#define VERSION 1
#define PROCEDURE "extension-gimp-link"
/* Without this variable it leaves at once. */
#define SOCKET_VARIABLE "GIMP_LINK_SOCKET"
/* Largest message, bytes. */
#define MAX_MESSAGE (1 << 20)
/* Deepest nesting of a request; the parser recurses. */
#define MAX_DEPTH 8
#define MAX_CLIENTS 8
/* Images told of, and bytes told of each name and URI: an answer stays below MAX_MESSAGE. */
#define MAX_IMAGES 128
#define MAX_TEXT 2000
/* How long a client may take to read an answer, seconds. */
#define WRITE_LIMIT 5
#define MIN_THUMBNAIL 16
#define MAX_THUMBNAIL 1024
/* Percent. */
#define MAX_QUALITY 100
#define USUAL_QUALITY 90
#define MAX_SCALE 200
/* GIMP's own limit, pixels. */
#define MAX_SIDE 262144
/* More than anybody undoes. */
#define MANY_CHANGES 1000
/* Marks images of our own, which nobody sees; the agent knows it, too. */
#define OWN_MARK "gimp-link-own"

static gboolean
ends_with (const gchar *path, const gchar *ending)
{
  gsize length = strlen (path), wanted = strlen (ending);

  return length > wanted && g_ascii_strcasecmp (path + length - wanted, ending) == 0;
}

/* What differs between the two libraries. */

#if GIMP_CHECK_VERSION (3, 0, 0)

typedef GimpImage *Image;
typedef GimpLayer *Layer;

static gboolean
find_image (gint64 id, Image *image)
{
  if (id <= 0 || id > G_MAXINT32 || ! gimp_image_id_is_valid ((gint32) id))
    return FALSE;
  *image = gimp_image_get_by_id ((gint32) id);
  return *image != NULL;
}

static Image *
all_images (gint *count)
{
  Image *images = gimp_get_images ();

  for (*count = 0; images && images[*count]; (*count)++);
  return images;
}

static Layer *
layers_of (Image image, gint *count)
{
  Layer *layers = gimp_image_get_layers (image);

  for (*count = 0; layers && layers[*count]; (*count)++);
  return layers;
}

static gchar *
uri_of (GFile *file)
{
  gchar *uri = file ? g_file_get_uri (file) : NULL;

  g_clear_object (&file);
  return uri;
}

static const gchar *
last_error (void)
{
  return gimp_pdb_get_last_error (gimp_get_pdb ());
}

static gboolean
succeeded (GimpValueArray *values)
{
  gboolean good = values && GIMP_VALUES_GET_ENUM (values, 0) == GIMP_PDB_SUCCESS;

  g_clear_pointer (&values, gimp_value_array_unref);
  return good;
}

static gboolean
save_xcf (Image image, const gchar *path)
{
  GFile    *file = g_file_new_for_path (path);
  gboolean  good = succeeded (gimp_procedure_run (gimp_pdb_lookup_procedure (gimp_get_pdb (), "gimp-xcf-save"),
                                                  "run-mode", GIMP_RUN_NONINTERACTIVE, "image", image, "file", file,
                                                  NULL));

  g_object_unref (file);
  return good;
}

/* All of the image, if the format can hold it. */
static gboolean
save_whole (Image image, const gchar *path)
{
  GFile    *file = g_file_new_for_path (path);
  gboolean  good = gimp_file_save (GIMP_RUN_NONINTERACTIVE, image, file, NULL);

  g_object_unref (file);
  return good;
}

/* An image of our own with one layer; GIMP puts it together as the format needs it. `quality` is for formats that know one,
 * percent. */
static gboolean
save_seen (Image copy, const gchar *path, gint64 quality)
{
  gboolean             jpeg = ends_with (path, ".jpg") || ends_with (path, ".jpeg");
  GimpProcedure       *procedure;
  GimpProcedureConfig *config;
  GFile               *file;
  gboolean             good;

  if (! jpeg && ! ends_with (path, ".webp"))
    return save_whole (copy, path);
  procedure = gimp_pdb_lookup_procedure (gimp_get_pdb (), jpeg ? "file-jpeg-export" : "file-webp-export");
  if (! procedure)
    return save_whole (copy, path);
  config = gimp_procedure_create_config (procedure);
  file   = g_file_new_for_path (path);
  g_object_set (config, "run-mode", GIMP_RUN_NONINTERACTIVE, "image", copy, "file", file, NULL);
  if (g_object_class_find_property (G_OBJECT_GET_CLASS (config), "quality"))
    g_object_set (config, "quality", jpeg ? (gdouble) quality / 100.0 : (gdouble) quality, NULL);
  good = succeeded (gimp_procedure_run_config (procedure, config));
  g_object_unref (file);
  g_object_unref (config);
  return good;
}

static Image
load (const gchar *path)
{
  GFile *file  = g_file_new_for_path (path);
  Image  image = gimp_file_load (GIMP_RUN_NONINTERACTIVE, file);

  g_object_unref (file);
  return image;
}

static gboolean
set_own_file (Image image, const gchar *path)
{
  GFile    *file = g_file_new_for_path (path);
  gboolean  good = gimp_image_set_file (image, file);

  g_object_unref (file);
  return good;
}

static gboolean
add_layer (Image image, const gchar *path)
{
  GFile *file  = g_file_new_for_path (path);
  Layer  layer = gimp_file_load_layer (GIMP_RUN_NONINTERACTIVE, image, file);

  g_object_unref (file);
  return layer && gimp_image_insert_layer (image, layer, NULL, 0);
}

static gboolean
show (Image image)
{
  return gimp_display_new (image) != NULL;
}

static gboolean
quit (void)
{
  return succeeded (gimp_procedure_run (gimp_pdb_lookup_procedure (gimp_get_pdb (), "gimp-quit"), "force", TRUE, NULL));
}

#define IMAGE_ID(image)        gimp_image_get_id (image)
#define IS_IMAGE(image)        ((image) != NULL)
#define IS_LAYER(layer)        ((layer) != NULL)
#define NO_GROUP               NULL
#define WIDTH(image)           gimp_image_get_width (image)
#define HEIGHT(image)          gimp_image_get_height (image)
#define OWN_URI(image)         uri_of (gimp_image_get_xcf_file (image))
#define IMPORTED_URI(image)    uri_of (gimp_image_get_imported_file (image))
#define EXPORTED_URI(image)    uri_of (gimp_image_get_exported_file (image))

#else /* libgimp 2.0 */

typedef gint32 Image;
typedef gint32 Layer;

static gboolean
find_image (gint64 id, Image *image)
{
  *image = (Image) id;
  return id > 0 && id <= G_MAXINT32 && gimp_image_is_valid (*image);
}

static Image *
all_images (gint *count)
{
  return gimp_image_list (count);
}

static Layer *
layers_of (Image image, gint *count)
{
  return gimp_image_get_layers (image, count);
}

static const gchar *
last_error (void)
{
  return gimp_get_pdb_error ();
}

static gboolean
succeeded (GimpParam *values, gint count)
{
  gboolean good = values && count > 0 && values[0].data.d_status == GIMP_PDB_SUCCESS;

  if (values)
    gimp_destroy_params (values, count);
  return good;
}

/* Its procedures want one although the formats with layers need none. */
static gint32
any_drawable (Image image)
{
  gint    count    = 0;
  gint32 *found    = gimp_image_get_layers (image, &count);
  gint32  drawable = -1;

  if (count == 0)
    {
      g_free (found);
      found = gimp_image_get_channels (image, &count);
    }
  if (count > 0)
    drawable = found[0];
  g_free (found);
  return drawable;
}

static gboolean
save_xcf (Image image, const gchar *path)
{
  gint       count  = 0;
  GimpParam *values = gimp_run_procedure ("gimp-xcf-save", &count,
                                          GIMP_PDB_INT32, GIMP_RUN_NONINTERACTIVE,
                                          GIMP_PDB_IMAGE, image,
                                          GIMP_PDB_DRAWABLE, any_drawable (image),
                                          GIMP_PDB_STRING, path,
                                          GIMP_PDB_STRING, path,
                                          GIMP_PDB_END);

  return succeeded (values, count);
}

/* All of the image, if the format can hold it. */
static gboolean
save_whole (Image image, const gchar *path)
{
  return gimp_file_save (GIMP_RUN_NONINTERACTIVE, image, any_drawable (image), path, path);
}

/* An image of our own with one layer, which may be changed. Called by GIMP for no user, the formats' plug-ins take 0 for all
 * that is not given. `quality` is for formats that know one, percent. */
static gboolean
save_seen (Image copy, const gchar *path, gint64 quality)
{
  gboolean   jpeg  = ends_with (path, ".jpg") || ends_with (path, ".jpeg");
  gboolean   webp  = ends_with (path, ".webp");
  gint       count = 0;
  GimpParam *values;
  gint32     seen;

  if ((jpeg || webp) && gimp_image_base_type (copy) == GIMP_INDEXED && ! gimp_image_convert_rgb (copy))
    return FALSE;
  seen = any_drawable (copy);
  if (jpeg)
    {
      const GimpRGB white = { 1.0, 1.0, 1.0, 1.0 };

      gimp_context_push ();
      gimp_context_set_background (&white);
      seen = gimp_image_flatten (copy);
      gimp_context_pop ();
      values = gimp_run_procedure ("file-jpeg-save", &count,
                                   GIMP_PDB_INT32, GIMP_RUN_NONINTERACTIVE, GIMP_PDB_IMAGE, copy,
                                   GIMP_PDB_DRAWABLE, seen, GIMP_PDB_STRING, path, GIMP_PDB_STRING, path,
                                   /* quality, smoothing, optimize, progressive, comment */
                                   GIMP_PDB_FLOAT, (gdouble) quality / 100.0, GIMP_PDB_FLOAT, 0.0,
                                   GIMP_PDB_INT32, 1, GIMP_PDB_INT32, 1, GIMP_PDB_STRING, "",
                                   /* subsmp: 4:4:4; baseline, restart, dct */
                                   GIMP_PDB_INT32, 2, GIMP_PDB_INT32, 1, GIMP_PDB_INT32, 0, GIMP_PDB_INT32, 0,
                                   GIMP_PDB_END);
    }
  else if (webp)
    {
      values = gimp_run_procedure ("file-webp-save", &count,
                                   GIMP_PDB_INT32, GIMP_RUN_NONINTERACTIVE, GIMP_PDB_IMAGE, copy,
                                   GIMP_PDB_DRAWABLE, seen, GIMP_PDB_STRING, path, GIMP_PDB_STRING, path,
                                   /* preset, lossless, quality, alpha-quality */
                                   GIMP_PDB_INT32, 0, GIMP_PDB_INT32, 0,
                                   GIMP_PDB_FLOAT, (gdouble) quality, GIMP_PDB_FLOAT, 100.0,
                                   /* animation, anim-loop, minimize-size, kf-distance, exif, iptc, xmp, delay, force-delay */
                                   GIMP_PDB_INT32, 0, GIMP_PDB_INT32, 0, GIMP_PDB_INT32, 0, GIMP_PDB_INT32, 0,
                                   GIMP_PDB_INT32, 1, GIMP_PDB_INT32, 1, GIMP_PDB_INT32, 1, GIMP_PDB_INT32, 0,
                                   GIMP_PDB_INT32, 0, GIMP_PDB_END);
    }
  else if (ends_with (path, ".png"))
    {
      values = gimp_run_procedure ("file-png-save", &count,
                                   GIMP_PDB_INT32, GIMP_RUN_NONINTERACTIVE, GIMP_PDB_IMAGE, copy,
                                   GIMP_PDB_DRAWABLE, seen, GIMP_PDB_STRING, path, GIMP_PDB_STRING, path,
                                   /* interlace, compression, bkgd, gama, offs, phys, time */
                                   GIMP_PDB_INT32, 0, GIMP_PDB_INT32, 6, GIMP_PDB_INT32, 0, GIMP_PDB_INT32, 0,
                                   GIMP_PDB_INT32, 0, GIMP_PDB_INT32, 1, GIMP_PDB_INT32, 1, GIMP_PDB_END);
    }
  else if (ends_with (path, ".tif") || ends_with (path, ".tiff"))
    {
      values = gimp_run_procedure ("file-tiff-save", &count,
                                   GIMP_PDB_INT32, GIMP_RUN_NONINTERACTIVE, GIMP_PDB_IMAGE, copy,
                                   GIMP_PDB_DRAWABLE, seen, GIMP_PDB_STRING, path, GIMP_PDB_STRING, path,
                                   /* compression: LZW */
                                   GIMP_PDB_INT32, 1, GIMP_PDB_END);
    }
  else
    {
      return gimp_file_save (GIMP_RUN_NONINTERACTIVE, copy, seen, path, path);
    }
  return succeeded (values, count);
}

static Image
load (const gchar *path)
{
  return gimp_file_load (GIMP_RUN_NONINTERACTIVE, path, path);
}

static gboolean
set_own_file (Image image, const gchar *path)
{
  return gimp_image_set_filename (image, path);
}

static gboolean
add_layer (Image image, const gchar *path)
{
  Layer layer = gimp_file_load_layer (GIMP_RUN_NONINTERACTIVE, image, path);

  return layer != -1 && gimp_image_insert_layer (image, layer, 0, 0);
}

static gboolean
show (Image image)
{
  return gimp_display_new (image) != -1;
}

static gboolean
quit (void)
{
  gint       count  = 0;
  GimpParam *values = gimp_run_procedure ("gimp-quit", &count, GIMP_PDB_INT32, TRUE, GIMP_PDB_END);

  return succeeded (values, count);
}

#define IMAGE_ID(image)        (image)
#define IS_IMAGE(image)        ((image) != -1)
#define IS_LAYER(layer)        ((layer) != -1)
#define NO_GROUP               0
#define WIDTH(image)           gimp_image_width (image)
#define HEIGHT(image)          gimp_image_height (image)
#define OWN_URI(image)         gimp_image_get_xcf_uri (image)
#define IMPORTED_URI(image)    gimp_image_get_imported_uri (image)
#define EXPORTED_URI(image)    gimp_image_get_exported_uri (image)

#endif

/* Requests and answers. */

/* Why something was not done. */
typedef struct
{
  const gchar *code;
  gchar       *message;
} Failure;

static gboolean
fail (Failure *failure, const gchar *code, const gchar *message)
{
  failure->code    = code;
  failure->message = g_utf8_make_valid (message ? message : "", -1);
  return FALSE;
}

static gboolean
bad_request (Failure *failure, const gchar *message)
{
  return fail (failure, "badRequest", message);
}

static gboolean
gimp_says_no (Failure *failure)
{
  return fail (failure, "failed", last_error ());
}

/* NULL: it is not there, or no text. */
static const gchar *
text_in (JsonObject *request, const gchar *name)
{
  JsonNode *node = json_object_get_member (request, name);

  return node && JSON_NODE_HOLDS_VALUE (node) && json_node_get_value_type (node) == G_TYPE_STRING
         ? json_node_get_string (node) : NULL;
}

/* Takes whole numbers only. */
static gboolean
number_in (JsonObject *request, const gchar *name, gint64 *number)
{
  JsonNode *node = json_object_get_member (request, name);

  if (! node || ! JSON_NODE_HOLDS_VALUE (node) || json_node_get_value_type (node) != G_TYPE_INT64)
    return FALSE;
  *number = json_node_get_int (node);
  return TRUE;
}

/* What is not there is false. */
static gboolean
flag_in (JsonObject *request, const gchar *name)
{
  JsonNode *node = json_object_get_member (request, name);

  return node && JSON_NODE_HOLDS_VALUE (node) && json_node_get_value_type (node) == G_TYPE_BOOLEAN
         && json_node_get_boolean (node);
}

/* Percent, from 1; one that is not there, or null, is `otherwise`. */
static gboolean
percent_in (JsonObject *request, const gchar *name, gint64 most, gint64 otherwise, gint64 *percent, Failure *failure)
{
  *percent = otherwise;
  if (! json_object_has_member (request, name) || json_object_get_null_member (request, name))
    return TRUE;
  if (number_in (request, name, percent) && *percent >= 1 && *percent <= most)
    return TRUE;
  return bad_request (failure, "A percentage is a whole number from 1 to 100, of a scale to 200.");
}

static const gchar *
path_in (JsonObject *request, const gchar *name, Failure *failure)
{
  const gchar *path = text_in (request, name);

  if (path && g_path_is_absolute (path) && strlen (path) < 4096)
    return path;
  bad_request (failure, "A path must be text, and absolute.");
  return NULL;
}

static gboolean
image_in (JsonObject *request, Image *image, Failure *failure)
{
  gint64 id;

  if (! number_in (request, "image", &id))
    return bad_request (failure, "Which image?");
  if (! find_image (id, image))
    return fail (failure, "noImage", "GIMP has no such image.");
  return TRUE;
}

/* Takes the text. */
static void
add_text (JsonBuilder *answer, const gchar *name, gchar *text)
{
  json_builder_set_member_name (answer, name);
  if (text)
    {
      /* Whole characters of at most so many bytes. */
      gchar *valid = g_utf8_make_valid (text, -1);

      if (strlen (valid) > MAX_TEXT)
        *g_utf8_find_prev_char (valid, valid + MAX_TEXT + 1) = '\0';
      json_builder_add_string_value (answer, valid);
      g_free (valid);
      g_free (text);
    }
  else
    {
      json_builder_add_null_value (answer);
    }
}

static void
add_number (JsonBuilder *answer, const gchar *name, gint64 number)
{
  json_builder_set_member_name (answer, name);
  json_builder_add_int_value (answer, number);
}

static gboolean
mark (Image image, const gchar *name, guint32 flags)
{
  GimpParasite *parasite = gimp_parasite_new (name, flags, 1, "1");
  gboolean      good     = gimp_image_attach_parasite (image, parasite);

  gimp_parasite_free (parasite);
  return good;
}

/* GIMP takes for saved what it has just loaded, or what we have told it too early. It counts changes, and an undone one
 * counts backwards: so many that no undo reaches the saved state, none of which can be undone by itself. */
static gboolean
make_dirty (Image image)
{
  gboolean good = gimp_image_undo_freeze (image);

  for (gint i = 0; good && i < MANY_CHANGES; i++)
    good = mark (image, "gimp-session-recovered", GIMP_PARASITE_PERSISTENT | GIMP_PARASITE_UNDOABLE);
  gimp_image_undo_thaw (image);
  return good && gimp_image_is_dirty (image);
}

/* Each fills in what belongs into `ok`, or says why not. */
typedef gboolean (* Action) (JsonObject *request, JsonBuilder *answer, Failure *failure);

static gboolean
hello (JsonObject *request, JsonBuilder *answer, Failure *failure)
{
  (void) request;
  (void) failure;
  add_number (answer, "version", VERSION);
  add_text (answer, "gimp", g_strdup (gimp_version ()));
  add_number (answer, "process", getppid ());
  return TRUE;
}

static gboolean
ping (JsonObject *request, JsonBuilder *answer, Failure *failure)
{
  (void) request;
  (void) answer;
  (void) failure;
  return TRUE;
}

static gboolean
is_own (Image image)
{
  GimpParasite *found = gimp_image_get_parasite (image, OWN_MARK);

  if (! found)
    return FALSE;
  gimp_parasite_free (found);
  return TRUE;
}

static gboolean
list (JsonObject *request, JsonBuilder *answer, Failure *failure)
{
  gint   count  = 0;
  Image *images = all_images (&count);

  (void) request;
  (void) failure;
  json_builder_set_member_name (answer, "images");
  json_builder_begin_array (answer);
  for (gint i = 0, told = 0; i < count && told < MAX_IMAGES; i++)
    {
      Image image  = images[i];
      gint  layers = 0;

      if (is_own (image))
        continue;
      told++;
      json_builder_begin_object (answer);
      add_number (answer, "id", IMAGE_ID (image));
      add_text (answer, "name", gimp_image_get_name (image));
      json_builder_set_member_name (answer, "dirty");
      json_builder_add_boolean_value (answer, gimp_image_is_dirty (image));
      add_number (answer, "width", WIDTH (image));
      add_number (answer, "height", HEIGHT (image));
      g_free (layers_of (image, &layers));
      add_number (answer, "layers", layers);
      add_text (answer, "file", OWN_URI (image));
      add_text (answer, "imported", IMPORTED_URI (image));
      add_text (answer, "exported", EXPORTED_URI (image));
      json_builder_end_object (answer);
    }
  json_builder_end_array (answer);
  g_free (images);
  return TRUE;
}

static gboolean
copy (JsonObject *request, JsonBuilder *answer, Failure *failure)
{
  Image        image;
  const gchar *to;

  (void) answer;
  if (! image_in (request, &image, failure) || ! (to = path_in (request, "to", failure)))
    return FALSE;
  return save_xcf (image, to) || gimp_says_no (failure);
}

static gboolean
thumbnail (JsonObject *request, JsonBuilder *answer, Failure *failure)
{
  Image        image;
  const gchar *to;
  gint64       size;
  GdkPixbuf   *pixels;
  GError      *error = NULL;

  if (! image_in (request, &image, failure) || ! (to = path_in (request, "to", failure)))
    return FALSE;
  if (! number_in (request, "size", &size) || size < MIN_THUMBNAIL || size > MAX_THUMBNAIL)
    return bad_request (failure, "A thumbnail has 16 to 1024 pixels on its longer side.");
  pixels = gimp_image_get_thumbnail (image, (gint) size, (gint) size, GIMP_PIXBUF_KEEP_ALPHA);
  if (! pixels)
    return gimp_says_no (failure);
  if (gdk_pixbuf_save (pixels, to, "png", &error, NULL))
    {
      add_number (answer, "width", gdk_pixbuf_get_width (pixels));
      add_number (answer, "height", gdk_pixbuf_get_height (pixels));
    }
  else
    {
      fail (failure, "failed", error->message);
      g_clear_error (&error);
    }
  g_object_unref (pixels);
  return failure->code == NULL;
}

static gboolean
recover (JsonObject *request, JsonBuilder *answer, Failure *failure)
{
  const gchar *from, *file = NULL;
  Image        image;

  if (! (from = path_in (request, "from", failure)))
    return FALSE;
  if (json_object_has_member (request, "file") && ! json_object_get_null_member (request, "file")
      && ! (file = path_in (request, "file", failure)))
    return FALSE;
  image = load (from);
  if (! IS_IMAGE (image))
    return gimp_says_no (failure);
  if (file && ! set_own_file (image, file))
    return gimp_says_no (failure);
  if (! make_dirty (image) || ! show (image))
    return gimp_says_no (failure);
  gimp_displays_flush ();
  add_number (answer, "image", IMAGE_ID (image));
  return TRUE;
}

/* The image's longer and shorter side become so many percent. */
static gboolean
scale_image (Image image, gint64 percent)
{
  gint64 width  = MAX (1, (WIDTH (image) * percent + 50) / 100);
  gint64 height = MAX (1, (HEIGHT (image) * percent + 50) / 100);
  gboolean good;

  if (percent == 100)
    return TRUE;
  if (width > MAX_SIDE || height > MAX_SIDE)
    return FALSE;
  gimp_context_push ();
  gimp_context_set_interpolation (GIMP_INTERPOLATION_CUBIC);
  good = gimp_image_scale (image, (gint) width, (gint) height);
  gimp_context_pop ();
  return good;
}

/* All that is seen becomes the only layer. Formats without layers would get one of them, as it is without the others, its
 * mask and its opacity; those with pages would get each as one. */
static gboolean
keep_what_is_seen (Image copy)
{
  Layer  seen   = gimp_layer_new_from_visible (copy, copy, "seen");
  gint   count  = 0;
  Layer *layers;

  if (! IS_LAYER (seen) || ! gimp_image_insert_layer (copy, seen, NO_GROUP, 0))
    return FALSE;
  layers = layers_of (copy, &count);
  for (gint i = 0; i < count; i++)
    if (layers[i] != seen)
      gimp_image_remove_layer (copy, layers[i]);
  g_free (layers);
  return TRUE;
}

static gboolean
export (JsonObject *request, JsonBuilder *answer, Failure *failure)
{
  Image        image, copy;
  const gchar *to;
  gint64       quality, scale;
  gboolean     good;

  (void) answer;
  if (! image_in (request, &image, failure) || ! (to = path_in (request, "to", failure))
      || ! percent_in (request, "quality", MAX_QUALITY, USUAL_QUALITY, &quality, failure)
      || ! percent_in (request, "scale", MAX_SCALE, 100, &scale, failure))
    return FALSE;
  copy = gimp_image_duplicate (image);
  if (! IS_IMAGE (copy))
    return gimp_says_no (failure);
  /* Cut off here, it must not be taken for somebody's. */
  mark (copy, OWN_MARK, 0);
  gimp_image_undo_disable (copy);
  if (ends_with (to, ".xcf"))
    good = scale_image (copy, scale) && save_xcf (copy, to);
  else
    good = keep_what_is_seen (copy) && scale_image (copy, scale) && save_seen (copy, to, quality);
  if (! good)
    gimp_says_no (failure);
  gimp_image_delete (copy);
  return good;
}

static gboolean
sync_path (const gchar *path, int flags)
{
  int      fd   = open (path, flags | O_RDONLY | O_CLOEXEC);
  gboolean good = fd >= 0 && fsync (fd) == 0;
  int      why  = errno;

  if (fd >= 0)
    close (fd);
  errno = why;
  return good;
}

/* As `rename`, but takes no other file's place unless it is to. */
static gboolean
move_to (const gchar *from, const gchar *to, gboolean replace)
{
  struct stat old;

  if (replace)
    {
      if (stat (to, &old) == 0 && chmod (from, old.st_mode & 07777) != 0)
        return FALSE;
      return rename (from, to) == 0;
    }
  if (renameat2 (AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
    return TRUE;
  /* Not every file system can. */
  if (errno != EINVAL && errno != ENOSYS)
    return FALSE;
  if (link (from, to) != 0)
    return FALSE;
  unlink (from);
  return TRUE;
}

/* Written under a name of our own, then on the disk, then moved: the file is at no time half of it. GIMP writes XCF in one
 * go, so that what is painted meanwhile comes after it has been told that the image is saved, and is unsaved. */
static gboolean
save (JsonObject *request, JsonBuilder *answer, Failure *failure)
{
  Image        image;
  const gchar *to, *by;
  gchar       *folder;
  gboolean     was_dirty, good;

  (void) answer;
  if (! image_in (request, &image, failure) || ! (to = path_in (request, "to", failure))
      || ! (by = path_in (request, "by", failure)))
    return FALSE;
  was_dirty = gimp_image_is_dirty (image);
  if (! (ends_with (by, ".xcf") ? save_xcf (image, by) : save_whole (image, by)))
    {
      gimp_says_no (failure);
      unlink (by);
      return FALSE;
    }
  good = gimp_image_clean_all (image);
  if (! good)
    {
      gimp_says_no (failure);
    }
  else if (! sync_path (by, 0) || ! move_to (by, to, flag_in (request, "replace")))
    {
      good = fail (failure, errno == EEXIST ? "exists" : "failed", g_strerror (errno));
    }
  else if (! set_own_file (image, to))
    {
      good = gimp_says_no (failure);
    }
  if (good)
    {
      /* Of no consequence but after a power cut. */
      folder = g_path_get_dirname (to);
      sync_path (folder, O_DIRECTORY);
      g_free (folder);
      return TRUE;
    }
  unlink (by);
  if (was_dirty)
    make_dirty (image);
  return FALSE;
}

static gboolean
layer (JsonObject *request, JsonBuilder *answer, Failure *failure)
{
  Image        image;
  const gchar *from;

  (void) answer;
  if (! image_in (request, &image, failure) || ! (from = path_in (request, "from", failure)))
    return FALSE;
  if (! add_layer (image, from))
    return gimp_says_no (failure);
  gimp_displays_flush ();
  return TRUE;
}

static gboolean
quit_gimp (JsonObject *request, JsonBuilder *answer, Failure *failure)
{
  (void) request;
  (void) answer;
  return quit () || gimp_says_no (failure);
}

static const struct
{
  const gchar *name;
  Action       action;
} actions[] =
{
  { "hello", hello },
  { "ping", ping },
  { "list", list },
  { "copy", copy },
  { "thumbnail", thumbnail },
  { "recover", recover },
  { "export", export },
  { "save", save },
  { "layer", layer },
  { "quit", quit_gimp },
};

/* One connection. */
typedef struct
{
  int         fd;
  GByteArray *unread;
  /* Whether it has said that it speaks this version. */
  gboolean    understood;
} Client;

static gint clients = 0;

static gboolean
act (Client *client, JsonObject *request, JsonBuilder *answer, Failure *failure)
{
  const gchar *what = text_in (request, "do");
  gint64       version;

  if (g_strcmp0 (what, "hello") == 0)
    {
      if (! number_in (request, "version", &version))
        return bad_request (failure, "Which version?");
      client->understood = version == VERSION;
    }
  else if (! client->understood)
    {
      return fail (failure, "noHello", "Say hello first, with version 1.");
    }
  for (guint i = 0; i < G_N_ELEMENTS (actions); i++)
    if (g_strcmp0 (what, actions[i].name) == 0)
      return actions[i].action (request, answer, failure);
  return bad_request (failure, "There is no such request.");
}

static gboolean
too_deep (const gchar *text, gsize length)
{
  gint     depth = 0;
  gboolean quoted = FALSE;

  for (gsize i = 0; i < length; i++)
    {
      if (quoted && text[i] == '\\')
        i++;
      else if (text[i] == '"')
        quoted = ! quoted;
      else if (! quoted && (text[i] == '[' || text[i] == '{'))
        depth++;
      else if (! quoted && (text[i] == ']' || text[i] == '}'))
        depth--;
      if (depth > MAX_DEPTH)
        return TRUE;
    }
  return FALSE;
}

/* The answer to one request, as JSON. */
static gchar *
answer_to (Client *client, const gchar *text, gsize length, gsize *answer_length)
{
  /* Not an immutable one: json-glib 1.10 aborts on text after the value. */
  JsonParser    *parser    = json_parser_new ();
  JsonBuilder   *result    = json_builder_new ();
  JsonBuilder   *answer    = json_builder_new ();
  JsonGenerator *generator = json_generator_new ();
  Failure        failure   = { NULL, NULL };
  JsonNode      *root      = NULL;
  gint64         id        = 0;
  gchar         *bytes;

  json_builder_begin_object (result);
  if (! g_utf8_validate (text, (gssize) length, NULL) || too_deep (text, length)
      || ! json_parser_load_from_data (parser, text, (gssize) length, NULL)
      || ! (root = json_parser_get_root (parser)) || ! JSON_NODE_HOLDS_OBJECT (root))
    bad_request (&failure, "A request is an object in JSON.");
  else if (! number_in (json_node_get_object (root), "id", &id))
    bad_request (&failure, "A request has a number.");
  else if (! act (client, json_node_get_object (root), result, &failure) && ! failure.code)
    fail (&failure, "failed", NULL);
  json_builder_end_object (result);

  json_builder_begin_object (answer);
  add_number (answer, "id", id);
  if (failure.code)
    {
      json_builder_set_member_name (answer, "error");
      json_builder_begin_object (answer);
      add_text (answer, "code", g_strdup (failure.code));
      add_text (answer, "message", failure.message);
      json_builder_end_object (answer);
    }
  else
    {
      json_builder_set_member_name (answer, "ok");
      json_builder_add_value (answer, json_builder_get_root (result));
    }
  json_builder_end_object (answer);

  root = json_builder_get_root (answer);
  json_generator_set_root (generator, root);
  bytes = json_generator_to_data (generator, answer_length);
  json_node_unref (root);
  g_object_unref (generator);
  g_object_unref (answer);
  g_object_unref (result);
  g_object_unref (parser);
  return bytes;
}

/* Waits for a reader, but not for ever. */
static gboolean
write_all (int fd, const void *bytes, gsize length)
{
  const gchar *rest = bytes;

  while (length > 0)
    {
      gssize written = send (fd, rest, length, MSG_NOSIGNAL);

      if (written < 0 && errno == EINTR)
        continue;
      if (written <= 0)
        return FALSE;
      rest   += written;
      length -= (gsize) written;
    }
  return TRUE;
}

/* Answers all that has come in whole. FALSE: this client is of no use. */
static gboolean
answer_all (Client *client)
{
  while (client->unread->len >= sizeof (guint32))
    {
      guint32   length;
      gsize     answer_length;
      guint32   header;
      gchar    *answer;
      gboolean  written;

      memcpy (&length, client->unread->data, sizeof length);
      length = GUINT32_FROM_LE (length);
      if (length > MAX_MESSAGE)
        return FALSE;
      if (client->unread->len - sizeof length < length)
        return TRUE;
      answer  = answer_to (client, (const gchar *) client->unread->data + sizeof length, length, &answer_length);
      header  = GUINT32_TO_LE ((guint32) answer_length);
      written = answer_length <= MAX_MESSAGE && write_all (client->fd, &header, sizeof header)
                && write_all (client->fd, answer, answer_length);
      g_free (answer);
      if (! written)
        return FALSE;
      g_byte_array_remove_range (client->unread, 0, sizeof length + length);
    }
  return TRUE;
}

static gboolean
client_speaks (gint fd, GIOCondition condition, gpointer data)
{
  Client *client = data;
  guint8  bytes[16384];
  gssize  count = recv (fd, bytes, sizeof bytes, MSG_DONTWAIT);

  (void) condition;
  if (count < 0 && (errno == EAGAIN || errno == EINTR))
    return G_SOURCE_CONTINUE;
  if (count > 0)
    {
      g_byte_array_append (client->unread, bytes, (guint) count);
      if (answer_all (client))
        return G_SOURCE_CONTINUE;
    }
  close (fd);
  g_byte_array_unref (client->unread);
  g_free (client);
  clients--;
  return G_SOURCE_REMOVE;
}

static gboolean
client_comes (gint listener, GIOCondition condition, gpointer data)
{
  const struct timeval limit = { .tv_sec = WRITE_LIMIT };
  int                  fd    = accept4 (listener, NULL, NULL, SOCK_CLOEXEC);
  Client              *client;

  (void) condition;
  (void) data;
  if (fd < 0)
    return G_SOURCE_CONTINUE;
  if (clients >= MAX_CLIENTS || setsockopt (fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0)
    {
      close (fd);
      return G_SOURCE_CONTINUE;
    }
  clients++;
  client         = g_new0 (Client, 1);
  client->fd     = fd;
  client->unread = g_byte_array_new ();
  g_unix_fd_add (fd, G_IO_IN | G_IO_HUP | G_IO_ERR, client_speaks, client);
  return G_SOURCE_CONTINUE;
}

/* -1: there is nobody to speak with, or another link does. */
static int
listen_on (const gchar *path)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  int                fd, other;
  mode_t             mask;
  gboolean           good;

  if (! path || strlen (path) >= sizeof address.sun_path)
    return -1;
  strcpy (address.sun_path, path);
  other = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  good  = other >= 0 && connect (other, (struct sockaddr *) &address, sizeof address) != 0;
  close (other);
  if (! good)
    return -1;
  unlink (path);
  fd   = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  mask = umask (0077);
  good = fd >= 0 && bind (fd, (struct sockaddr *) &address, sizeof address) == 0 && listen (fd, MAX_CLIENTS) == 0;
  umask (mask);
  if (good)
    return fd;
  g_printerr ("gimp-link: no socket: %s\n", g_strerror (errno));
  close (fd);
  return -1;
}

/* Returns FALSE if there is nothing to serve. */
static gboolean
begin (void)
{
  int listener = listen_on (g_getenv (SOCKET_VARIABLE));

  if (listener >= 0)
    g_unix_fd_add (listener, G_IO_IN, client_comes, NULL);
  return listener >= 0;
}

static void
serve (void)
{
  GMainLoop *loop = g_main_loop_new (NULL, FALSE);

  /* GIMP's end ends it. */
  g_main_loop_run (loop);
  g_main_loop_unref (loop);
}

/* The plug-in. */

#define SUMMARY     "Tells the program that runs this GIMP about its images"
#define DESCRIPTION "Listens on the Unix socket that " SOCKET_VARIABLE " names. Without it there is nothing to do."

#if GIMP_CHECK_VERSION (3, 0, 0)

#define GIMP_LINK_TYPE (gimp_link_get_type ())
G_DECLARE_FINAL_TYPE (GimpLink, gimp_link, GIMP, LINK, GimpPlugIn)

struct _GimpLink
{
  GimpPlugIn parent_instance;
};

G_DEFINE_TYPE (GimpLink, gimp_link, GIMP_TYPE_PLUG_IN)
GIMP_MAIN (GIMP_LINK_TYPE)

static GimpValueArray *
run (GimpProcedure *procedure, GimpProcedureConfig *config, gpointer data)
{
  GimpPlugIn *plug_in = gimp_procedure_get_plug_in (procedure);
  gboolean    wanted;

  (void) config;
  (void) data;
  gimp_plug_in_set_pdb_error_handler (plug_in, GIMP_PDB_ERROR_HANDLER_PLUGIN);
  wanted = begin ();
  gimp_procedure_persistent_ready (procedure);
  if (wanted)
    {
      gimp_plug_in_persistent_enable (plug_in);
      serve ();
    }
  return gimp_procedure_new_return_values (procedure, GIMP_PDB_SUCCESS, NULL);
}

static GList *
query_procedures (GimpPlugIn *plug_in)
{
  (void) plug_in;
  return g_list_append (NULL, g_strdup (PROCEDURE));
}

static GimpProcedure *
create_procedure (GimpPlugIn *plug_in, const gchar *name)
{
  GimpProcedure *procedure = gimp_procedure_new (plug_in, name, GIMP_PDB_PROC_TYPE_PERSISTENT, run, NULL, NULL);

  gimp_procedure_set_documentation (procedure, SUMMARY, DESCRIPTION, name);
  return procedure;
}

/* There is nothing to translate. */
static gboolean
set_i18n (GimpPlugIn *plug_in, const gchar *name, gchar **domain, gchar **catalog)
{
  (void) plug_in;
  (void) name;
  (void) domain;
  (void) catalog;
  return FALSE;
}

static void
gimp_link_class_init (GimpLinkClass *klass)
{
  GimpPlugInClass *plug_in = GIMP_PLUG_IN_CLASS (klass);

  plug_in->query_procedures = query_procedures;
  plug_in->create_procedure = create_procedure;
  plug_in->set_i18n         = set_i18n;
}

static void
gimp_link_init (GimpLink *link)
{
  (void) link;
}

#else /* libgimp 2.0 */

static void
query (void)
{
  gimp_install_procedure (PROCEDURE, SUMMARY, DESCRIPTION, "GIMP streaming platform", "Apache-2.0", "2026",
                          NULL, NULL, GIMP_EXTENSION, 0, 0, NULL, NULL);
}

static void
run (const gchar *name, gint n_params, const GimpParam *params, gint *n_values, GimpParam **values)
{
  static GimpParam value = { .type = GIMP_PDB_STATUS, .data = { .d_status = GIMP_PDB_SUCCESS } };
  gboolean         wanted;

  (void) name;
  (void) n_params;
  (void) params;
  *n_values = 1;
  *values   = &value;
  gimp_plugin_set_pdb_error_handler (GIMP_PDB_ERROR_HANDLER_PLUGIN);
  wanted = begin ();
  gimp_extension_ack ();
  if (wanted)
    {
      gimp_extension_enable ();
      serve ();
    }
}

const GimpPlugInInfo PLUG_IN_INFO = { NULL, NULL, query, run };
MAIN ()

#endif
